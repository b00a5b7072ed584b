################################################################################
# Image and identity
################################################################################

data "aws_ssm_parameter" "ami" {
  name = var.ami_ssm_parameter
}

# Lets an operator open a session without SSH, and nothing else.
resource "aws_iam_role" "machine" {
  name        = "${var.name}-machine"
  description = "Machines of ${var.name}: Systems Manager sessions only"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })

  tags = merge(var.tags, { Name = "${var.name}-machine" })
}

resource "aws_iam_role_policy_attachment" "ssm" {
  role       = aws_iam_role.machine.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "machine" {
  name = "${var.name}-machine"
  role = aws_iam_role.machine.name

  tags = merge(var.tags, { Name = "${var.name}-machine" })
}

################################################################################
# Machines: bare, Ansible does the rest
################################################################################

resource "aws_instance" "machine" {
  #checkov:skip=CKV_AWS_126: detailed monitoring costs by the machine and the fleet exports its own metrics

  for_each = var.machines

  ami                    = data.aws_ssm_parameter.ami.insecure_value
  instance_type          = each.value.instance_type
  subnet_id              = var.subnet_id
  private_ip             = each.value.private_ip
  vpc_security_group_ids = [var.security_group_ids[each.value.role]]
  key_name               = var.ssh_key_name
  iam_instance_profile   = aws_iam_instance_profile.machine.name
  ebs_optimized          = true

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1 # containers on the machine cannot take its role
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = each.value.root_disk_gib
    encrypted   = true

    tags = merge(var.tags, { Name = "${each.key}-root" })
  }

  tags = merge(var.tags, { Name = each.key, Role = each.value.role })

  lifecycle {
    # A newer image must not replace a machine; do that by name, with -replace.
    ignore_changes = [ami]
  }
}

################################################################################
# Data volumes: they outlive their machine
################################################################################

resource "aws_ebs_volume" "data" {
  #checkov:skip=CKV_AWS_189: the account's own EBS key encrypts; a customer-managed key costs 1 USD a month and is the owner's choice

  for_each = { for name, machine in var.machines : name => machine if machine.data_disk_gib != null }

  availability_zone = var.availability_zone
  type              = "gp3"
  size              = each.value.data_disk_gib
  encrypted         = true

  tags = merge(var.tags, { Name = "${each.key}-data", Role = each.value.role })
}

resource "aws_volume_attachment" "data" {
  for_each = aws_ebs_volume.data

  device_name = "/dev/sdf"
  volume_id   = each.value.id
  instance_id = aws_instance.machine[each.key].id

  # A machine that is replaced stops first, so that its file system is closed.
  stop_instance_before_detaching = true
}
