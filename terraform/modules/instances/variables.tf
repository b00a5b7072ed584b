variable "name" {
  description = "Prefix of every name."
  type        = string
  nullable    = false
}

variable "machines" {
  description = "Machines by name; a data_disk_gib of null means no data volume, a private_ip of null lets AWS choose."
  type = map(object({
    role          = string
    instance_type = string
    root_disk_gib = number
    data_disk_gib = number
    private_ip    = string
  }))
  nullable = false

  validation {
    condition     = alltrue([for machine in var.machines : can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", machine.instance_type))])
    error_message = "fleet.yml gives the instance_type ${jsonencode(distinct([for machine in var.machines : machine.instance_type if !can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", machine.instance_type))]))}: write one such as t3.small."
  }

  validation {
    condition     = alltrue([for machine in var.machines : machine.root_disk_gib >= 8 && floor(machine.root_disk_gib) == machine.root_disk_gib])
    error_message = "fleet.yml gives ${join(", ", [for name, machine in var.machines : name if !(machine.root_disk_gib >= 8 && floor(machine.root_disk_gib) == machine.root_disk_gib)])} a root_disk_gib that is no size: use whole GiB, 8 or more, which Ubuntu's image takes."
  }

  validation {
    condition     = alltrue([for machine in var.machines : try(machine.data_disk_gib >= 1 && floor(machine.data_disk_gib) == machine.data_disk_gib, machine.data_disk_gib == null)])
    error_message = "fleet.yml gives ${join(", ", [for name, machine in var.machines : name if !try(machine.data_disk_gib >= 1 && floor(machine.data_disk_gib) == machine.data_disk_gib, machine.data_disk_gib == null)])} a data_disk_gib that is no size: use whole GiB, or leave it out for no data volume."
  }
}

variable "subnet_id" {
  description = "Subnet of the machines."
  type        = string
  nullable    = false
}

variable "availability_zone" {
  description = "Zone of the subnet; a volume can only be attached inside its zone."
  type        = string
  nullable    = false
}

variable "security_group_ids" {
  description = "Security group id of each role."
  type        = map(string)
  nullable    = false
}

variable "ssh_key_name" {
  description = "Name of an existing EC2 key pair."
  type        = string
  nullable    = false
}

variable "ami_ssm_parameter" {
  description = "SSM parameter that names the machine image."
  type        = string
  nullable    = false
}

variable "tags" {
  description = "Tags for everything in this module."
  type        = map(string)
  nullable    = false
}
