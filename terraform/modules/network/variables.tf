variable "name" {
  description = "Prefix of every name."
  type        = string
  nullable    = false
}

variable "vpc_cidr" {
  description = "IPv4 network of the VPC."
  type        = string
  nullable    = false

  validation {
    condition = can(cidrnetmask(var.vpc_cidr)) && try(
      tonumber(split("/", var.vpc_cidr)[1]) >= 16
      && tonumber(split("/", var.vpc_cidr)[1]) <= 28
      && cidrhost(var.vpc_cidr, 0) == split("/", var.vpc_cidr)[0],
      false
    )
    error_message = "network.vpc_cidr is '${var.vpc_cidr}' in fleet.yml: write an IPv4 network of /16 to /28 by its first address, such as 10.0.0.0/16."
  }
}

variable "subnet_cidr" {
  description = "IPv4 network of the machines, inside vpc_cidr."
  type        = string
  nullable    = false

  validation {
    condition = can(cidrnetmask(var.subnet_cidr)) && try(
      tonumber(split("/", var.subnet_cidr)[1]) <= 28
      && tonumber(split("/", var.subnet_cidr)[1]) >= tonumber(split("/", var.vpc_cidr)[1])
      && cidrhost(var.subnet_cidr, 0) == split("/", var.subnet_cidr)[0]
      && cidrhost("${cidrhost(var.subnet_cidr, 0)}/${split("/", var.vpc_cidr)[1]}", 0) == cidrhost(var.vpc_cidr, 0),
      false
    )
    error_message = "network.subnet_cidr is '${var.subnet_cidr}' in fleet.yml: write an IPv4 network of /28 or larger by its first address, inside network.vpc_cidr ${var.vpc_cidr}."
  }
}

variable "public_subnet" {
  description = "Whether the machines' subnet leads straight to the internet (true) or through a NAT gateway (false)."
  type        = bool
  nullable    = false
}

variable "preferred_az" {
  description = "Zone to use if it offers every instance type; null takes the first that does."
  type        = string
  default     = null
}

variable "instance_types" {
  description = "Every instance type of the fleet."
  type        = set(string)
  nullable    = false

  validation {
    condition     = length(var.instance_types) > 0
    error_message = "fleet.yml describes no machine: give at least one role a count of 1 or more."
  }
}

variable "tags" {
  description = "Tags for everything in this module."
  type        = map(string)
  nullable    = false
}
