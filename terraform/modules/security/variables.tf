variable "name" {
  description = "Prefix of every name."
  type        = string
  nullable    = false
}

variable "vpc_id" {
  description = "VPC of the groups."
  type        = string
  nullable    = false
}

variable "roles" {
  description = "Roles of fleet.yml; each gets one security group."
  type        = set(string)
  nullable    = false

  validation {
    condition     = alltrue([for role in var.roles : can(regex("^[a-z]+$", role))])
    error_message = "fleet.yml names the role ${jsonencode([for role in var.roles : role if !can(regex("^[a-z]+$", role))])}, which would be no plain group name for Ansible: use lower-case letters only, no dash."
  }

  validation {
    condition     = length(setintersection(var.roles, ["operator", "all"])) == 0
    error_message = "fleet.yml names a role 'operator' or 'all', words that its flows use for other things: choose another name."
  }
}

variable "flows" {
  description = "Who may reach whom: from is a role, a network of outside, 'operator' or 'all'; to is a role or 'all'; port is a TCP port."
  type = list(object({
    from = string
    to   = string
    port = number
  }))
  nullable = false

  validation {
    condition     = alltrue([for flow in var.flows : contains(concat(tolist(var.roles), keys(var.outside), ["operator", "all"]), flow.from)])
    error_message = "fleet.yml has a flow from ${jsonencode([for flow in var.flows : flow.from if !contains(concat(tolist(var.roles), keys(var.outside), ["operator", "all"]), flow.from)])}, which is no role and no network of outside: use a role, a network of outside, operator or all."
  }

  validation {
    condition     = alltrue([for flow in var.flows : contains(concat(tolist(var.roles), ["all"]), flow.to)])
    error_message = "fleet.yml has a flow to ${jsonencode([for flow in var.flows : flow.to if !contains(concat(tolist(var.roles), ["all"]), flow.to)])}, which is no role: use a role or all."
  }

  validation {
    condition     = alltrue([for flow in var.flows : flow.port >= 1 && flow.port <= 65535 && floor(flow.port) == flow.port])
    error_message = "fleet.yml has a flow to port ${jsonencode([for flow in var.flows : flow.port if !(flow.port >= 1 && flow.port <= 65535 && floor(flow.port) == flow.port)])}: use a whole number from 1 to 65535."
  }
}

variable "outside" {
  description = "IPv4 networks outside the fleet, by the name that flows use. An empty list opens nothing."
  type        = map(list(string))
  nullable    = false

  validation {
    condition     = length(setintersection(keys(var.outside), concat(tolist(var.roles), ["operator", "all"]))) == 0
    error_message = "fleet.yml names a network of outside ${jsonencode(setintersection(keys(var.outside), concat(tolist(var.roles), ["operator", "all"])))}, which means another thing in flows: choose another name."
  }

  validation {
    condition     = alltrue([for cidr in flatten(values(var.outside)) : can(cidrnetmask(strcontains(cidr, "/") ? cidr : "${cidr}/32"))])
    error_message = "fleet.yml has in outside ${jsonencode([for cidr in flatten(values(var.outside)) : cidr if !can(cidrnetmask(strcontains(cidr, "/") ? cidr : "${cidr}/32"))])}, which is no IPv4 network: write an address with its prefix length, such as 203.0.113.0/24."
  }

  validation {
    condition     = alltrue([for cidr in flatten(values(var.outside)) : try(cidrhost(cidr, 0) == split("/", cidr)[0], true)])
    error_message = "fleet.yml has in outside ${jsonencode([for cidr in flatten(values(var.outside)) : cidr if try(cidrhost(cidr, 0) != split("/", cidr)[0], false)])}, an address inside its network: write the network's own address, or the prefix length 32."
  }

  validation {
    condition     = alltrue([for cidr in flatten(values(var.outside)) : try(tonumber(split("/", cidr)[1]) >= 8, true)])
    error_message = "fleet.yml has in outside ${jsonencode([for cidr in flatten(values(var.outside)) : cidr if try(tonumber(split("/", cidr)[1]) < 8, false)])}, which is a large part of the internet: use a prefix length of 8 or more, best /32."
  }
}

variable "allowed_cidrs" {
  description = "IPv4 networks that 'operator' in a flow stands for."
  type        = list(string)
  nullable    = false
}

variable "tags" {
  description = "Tags for everything in this module."
  type        = map(string)
  nullable    = false
}
