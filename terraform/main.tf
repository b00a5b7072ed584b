# Bare machines and their network, nothing else: Ansible installs everything on them.

provider "aws" {
  region  = var.aws_region
  profile = var.aws_profile

  # In the call that makes a machine, so that its root disk is the project's own from the beginning: the tags that stand
  # at the disk itself come in a later call, which deploy.json allows only for what has the project's tag already.
  default_tags {
    tags = local.tags
  }
}

data "aws_caller_identity" "current" {}

data "aws_region" "current" {}

locals {
  fleet = yamldecode(file("${path.module}/${var.fleet_file}"))
  name  = "${local.fleet.project}-${var.environment}"

  # The inventory selects by Project and Environment. The user's tags come first, so they cannot override these two.
  tags = merge(var.tags, {
    Project     = local.fleet.project
    Environment = var.environment
  })

  # Keyed by name, so that a larger count adds a machine and touches no other.
  machines = merge([
    for role, spec in local.fleet.roles : {
      for number in range(1, spec.count + 1) : "${role}-${number}" => {
        role          = role
        instance_type = spec.instance_type
        root_disk_gib = spec.root_disk_gib
        data_disk_gib = try(spec.data_disk_gib, null)
        private_ip    = try(spec.addresses[number - 1], null)
      }
    }
  ]...)
}

module "network" {
  source = "./modules/network"

  name           = local.name
  vpc_cidr       = local.fleet.network.vpc_cidr
  subnet_cidr    = local.fleet.network.subnet_cidr
  public_subnet  = var.public_subnet
  preferred_az   = var.preferred_az
  instance_types = toset([for machine in local.machines : machine.instance_type])
  tags           = local.tags
}

module "security" {
  source = "./modules/security"

  name   = local.name
  vpc_id = module.network.vpc_id
  roles  = keys(local.fleet.roles)
  # The only machine of a role has no other one to reach.
  flows         = [for flow in try(local.fleet.flows, []) : flow if flow.from != flow.to || try(local.fleet.roles[flow.from].count, 2) > 1]
  outside       = try(local.fleet.outside, {})
  allowed_cidrs = var.allowed_cidrs
  tags          = local.tags
}

module "instances" {
  source = "./modules/instances"

  name               = local.name
  machines           = local.machines
  subnet_id          = module.network.subnet_id
  availability_zone  = module.network.availability_zone
  security_group_ids = module.security.group_ids
  ssh_key_name       = var.ssh_key_name
  ami_ssm_parameter  = var.ami_ssm_parameter
  tags               = local.tags
}
