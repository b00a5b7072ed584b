# What fleet.yml defines (project, networks, roles, sizes, flows) has no variable here. These are the things that only
# the person who deploys can know.

################################################################################
# Access
################################################################################

variable "ssh_key_name" {
  description = "Name of an existing EC2 key pair in the region; its private half is what Ansible logs in with."
  type        = string
  nullable    = false

  validation {
    condition     = trimspace(var.ssh_key_name) != ""
    error_message = "ssh_key_name is empty: give the name of a key pair that exists in the region (docs/aws.md, Key pair)."
  }
}

variable "allowed_cidrs" {
  description = "IPv4 networks of the operators: the only addresses from which flows of 'operator' in fleet.yml (SSH, API) are open."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.allowed_cidrs) > 0
    error_message = "allowed_cidrs is empty, so that nobody could log in: give your own address, such as [\"203.0.113.7/32\"]."
  }

  validation {
    condition     = alltrue([for cidr in var.allowed_cidrs : can(cidrnetmask(cidr))])
    error_message = "allowed_cidrs holds ${jsonencode([for cidr in var.allowed_cidrs : cidr if !can(cidrnetmask(cidr))])}, which is no IPv4 network: write an address with its prefix length, such as 203.0.113.7/32."
  }

  validation {
    condition     = alltrue([for cidr in var.allowed_cidrs : !can(cidrnetmask(cidr)) || try(tonumber(split("/", cidr)[1]) >= 8, true)])
    error_message = "allowed_cidrs holds ${jsonencode([for cidr in var.allowed_cidrs : cidr if try(tonumber(split("/", cidr)[1]) < 8, false)])}, which opens SSH to a large part of the internet: use a prefix length of 8 or more, best /32."
  }

  validation {
    condition     = alltrue([for cidr in var.allowed_cidrs : try(cidrhost(cidr, 0) == split("/", cidr)[0], true)])
    error_message = "allowed_cidrs holds ${jsonencode([for cidr in var.allowed_cidrs : cidr if try(cidrhost(cidr, 0) != split("/", cidr)[0], false)])}, whose address is not the first of its network: write ${jsonencode([for cidr in var.allowed_cidrs : "${cidrhost(cidr, 0)}/${split("/", cidr)[1]}" if try(cidrhost(cidr, 0) != split("/", cidr)[0], false)])}, or the single address with /32."
  }
}

################################################################################
# Account and place
################################################################################

variable "aws_region" {
  description = "AWS region of everything."
  type        = string
  default     = "us-east-1"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.aws_region))
    error_message = "aws_region is '${var.aws_region}', which is no region's name: write one such as us-east-1."
  }
}

variable "aws_profile" {
  description = "Profile of ~/.aws/config to use; null takes the credentials from the environment."
  type        = string
  default     = null

  validation {
    condition     = var.aws_profile == null ? true : trimspace(var.aws_profile) != ""
    error_message = "aws_profile is empty: name a profile of ~/.aws/config, or leave the variable out to use the environment's credentials."
  }
}

variable "preferred_az" {
  description = "Availability zone to use if it offers every instance type of fleet.yml; null takes the first that does."
  type        = string
  default     = null

  validation {
    condition     = var.preferred_az == null ? true : can(regex("^[a-z]{2}(-[a-z]+)+-[0-9][a-z]$", var.preferred_az))
    error_message = "preferred_az is '${coalesce(var.preferred_az, "null")}', which is no zone's name: write one such as us-east-1a, or leave the variable out."
  }
}

variable "public_subnet" {
  description = "true: machines have public addresses and an internet gateway. false: private addresses only, out through a NAT gateway (about 33 USD a month), in by SSM sessions."
  type        = bool
  default     = true
  nullable    = false
}

################################################################################
# Names and tags
################################################################################

variable "environment" {
  description = "Value of the tag Environment, by which the inventory (FLEET_ENVIRONMENT) tells this fleet from another of the same project; also part of each name."
  type        = string
  default     = "dev"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.environment))
    error_message = "environment is '${var.environment}': use at most 20 lower-case letters, digits and dashes, a letter first."
  }
}

variable "tags" {
  description = "Further tags for everything that is made."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setintersection(keys(var.tags), ["Name", "Role", "Project", "Environment"])) == 0
    error_message = "tags sets ${jsonencode(setintersection(keys(var.tags), ["Name", "Role", "Project", "Environment"]))}, by which the inventory finds the machines: choose other keys."
  }

  validation {
    condition     = alltrue([for key in keys(var.tags) : !startswith(lower(key), "aws:")])
    error_message = "tags uses a key that starts with aws:, which AWS keeps for itself: choose other keys."
  }
}

################################################################################
# Machines
################################################################################

variable "ami_ssm_parameter" {
  description = "Public SSM parameter that names the machine image; read when a machine is made, never afterwards."
  type        = string
  default     = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
  nullable    = false

  validation {
    condition     = startswith(var.ami_ssm_parameter, "/aws/service/canonical/ubuntu/")
    error_message = "ami_ssm_parameter is '${var.ami_ssm_parameter}': the roles are made for Ubuntu, so give a parameter below /aws/service/canonical/ubuntu/."
  }
}

variable "fleet_file" {
  description = "Path of the fleet's description, from the directory terraform/; the roles and the inventory read ../fleet.yml."
  type        = string
  default     = "../fleet.yml"
  nullable    = false

  validation {
    condition     = can(yamldecode(file("${path.module}/${var.fleet_file}")).roles)
    error_message = "fleet_file is '${var.fleet_file}', where no YAML file with the key 'roles' lies: give its path from the directory terraform/."
  }

  validation {
    condition     = !can(file("${path.module}/${var.fleet_file}")) || can(regex("^[a-z][a-z0-9-]{0,29}$", yamldecode(file("${path.module}/${var.fleet_file}")).project))
    error_message = "project in ${var.fleet_file} is part of every name: use at most 30 lower-case letters, digits and dashes, a letter first."
  }

  validation {
    condition     = try(alltrue([for role in yamldecode(file("${path.module}/${var.fleet_file}")).roles : role.count >= 1 && floor(role.count) == role.count]), true)
    error_message = "fleet_file ${var.fleet_file} has a role whose count is no whole number of at least 1: correct it, or take the role out."
  }
}
