# The fleet over its life: made, then grown, then met by a newer image and another operator.
# No run touches AWS: the provider is a mock.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  ssh_key_name  = "key"
  allowed_cidrs = ["203.0.113.7/32"]
}

run "made" {
  assert {
    condition     = output.availability_zone == "us-east-1b"
    error_message = "The zone must be the first that is open and offers every instance type."
  }

  assert {
    condition     = toset(keys(output.data_volume_ids)) == toset(["kafka-1", "mongo-1"])
    error_message = "Exactly the machines of roles with data_disk_gib hold a data volume."
  }

  assert {
    condition     = output.account_id == "111122223333" && output.region == "us-east-1"
    error_message = "Outputs must name account and region."
  }
}

run "again" {
  assert {
    condition     = output.instance_ids == run.made.instance_ids
    error_message = "A second apply replaced a machine."
  }
}

# Another current AMI must not replace a machine with its data.
run "newer_image" {
  override_data {
    target = module.instances.data.aws_ssm_parameter.ami
    values = { insecure_value = "ami-0bbbbbbbbbbbbbbbb" }
  }

  assert {
    condition     = output.image_ids == run.made.image_ids && output.instance_ids == run.made.instance_ids
    error_message = "A newer image would replace the machines."
  }
}

# A zone that now offers the types and sorts first must not move the subnet.
run "newer_zone" {
  override_data {
    target = module.network.data.aws_availability_zones.open
    values = { names = ["us-east-1b", "us-east-1c", "us-east-1d"] }
  }
  override_data {
    target = module.network.data.aws_ec2_instance_type_offerings.by_zone
    values = { locations = ["us-east-1c", "us-east-1d"] }
  }

  assert {
    condition     = output.subnet_id == run.made.subnet_id && output.availability_zone == "us-east-1b"
    error_message = "A change of the zones on offer moved the subnet."
  }
}

run "another_operator" {
  variables {
    allowed_cidrs = ["198.51.100.0/24", "203.0.113.7/32"]
  }

  assert {
    condition     = output.instance_ids == run.made.instance_ids && output.security_groups == run.made.security_groups
    error_message = "A further operator's address replaced a machine or a group."
  }
}

run "grown" {
  variables {
    fleet_file = "tests/fixtures/larger.yml"
  }

  assert {
    condition     = alltrue([for name, id in run.made.instance_ids : output.instance_ids[name] == id])
    error_message = "Adding machines replaced one that was there."
  }

  assert {
    condition     = alltrue([for name, id in run.made.data_volume_ids : output.data_volume_ids[name] == id])
    error_message = "Adding machines replaced a data volume."
  }

  assert {
    condition     = contains(keys(output.instance_ids), "kafka-2") && output.instance_private_ips["archive-1"] == "10.0.1.50"
    error_message = "The new machines are missing, or a fixed address was not used."
  }
}
