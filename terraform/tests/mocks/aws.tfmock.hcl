# What AWS would answer, for the runs in ../*.tftest.hcl.
mock_data "aws_availability_zones" {
  defaults = {
    names = ["us-east-1a", "us-east-1b", "us-east-1c"]
  }
}

mock_data "aws_ec2_instance_type_offerings" {
  defaults = {
    # us-east-1d is one that must be opted into.
    locations = ["us-east-1d", "us-east-1c", "us-east-1b"]
  }
}

mock_data "aws_ssm_parameter" {
  defaults = {
    insecure_value = "ami-0aaaaaaaaaaaaaaaa"
  }
}

mock_data "aws_caller_identity" {
  defaults = {
    account_id = "111122223333"
    arn        = "arn:aws:iam::111122223333:user/operator"
  }
}

mock_data "aws_region" {
  defaults = {
    region = "us-east-1"
  }
}
