################################################################################
# The zone: one that offers every instance type
################################################################################

# Local and wavelength zones answer too, and must be opted into: leave them out.
data "aws_availability_zones" "open" {
  #checkov:skip=CKV_AWS_394: a new zone changes nothing, since the subnet ignores changes of its zone

  state = "available"

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

data "aws_ec2_instance_type_offerings" "by_zone" {
  for_each = var.instance_types

  location_type = "availability-zone"

  filter {
    name   = "instance-type"
    values = [each.value]
  }
}

locals {
  suitable_zones = sort(setintersection(
    data.aws_availability_zones.open.names,
    [for offering in data.aws_ec2_instance_type_offerings.by_zone : offering.locations]...
  ))

  zone = var.preferred_az != null ? var.preferred_az : try(local.suitable_zones[0], "none")
}

################################################################################
# VPC and the machines' subnet
################################################################################

resource "aws_vpc" "this" {
  #checkov:skip=CKV2_AWS_11: flow logs cost by the gigabyte and the fleet is small

  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true

  tags = merge(var.tags, { Name = var.name })
}

# The default group would let every machine in it reach every other: remove its rules.
resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.this.id

  tags = merge(var.tags, { Name = "${var.name}-default-closed" })
}

resource "aws_subnet" "machines" {
  #checkov:skip=CKV_AWS_130: operators reach the machines by public address, which the groups open to allowed_cidrs only; public_subnet=false takes it away

  vpc_id            = aws_vpc.this.id
  cidr_block        = var.subnet_cidr
  availability_zone = local.zone

  # Set here and not on the instance: there, an address that was lost at a stop would look like a change that replaces
  # the machine.
  map_public_ip_on_launch = var.public_subnet

  tags = merge(var.tags, { Name = "${var.name}-machines" })

  lifecycle {
    # Another zone would replace the subnet, the machines and their data volumes.
    ignore_changes = [availability_zone]

    precondition {
      condition     = length(local.suitable_zones) > 0
      error_message = "No zone of the region offers all of ${join(", ", var.instance_types)}: choose other instance types in fleet.yml or another aws_region."
    }

    precondition {
      condition     = contains(local.suitable_zones, local.zone)
      error_message = "preferred_az is '${local.zone}', which does not offer all of ${join(", ", var.instance_types)}: choose one of ${join(", ", local.suitable_zones)}, or leave the variable out."
    }
  }
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id

  tags = merge(var.tags, { Name = var.name })
}

resource "aws_route_table" "machines" {
  vpc_id = aws_vpc.this.id

  tags = merge(var.tags, { Name = "${var.name}-machines" })
}

resource "aws_route_table_association" "machines" {
  subnet_id      = aws_subnet.machines.id
  route_table_id = aws_route_table.machines.id
}

resource "aws_route" "out" {
  route_table_id         = aws_route_table.machines.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = var.public_subnet ? aws_internet_gateway.this.id : null
  nat_gateway_id         = var.public_subnet ? null : aws_nat_gateway.this[0].id
}

################################################################################
# NAT, when the machines have private addresses only
################################################################################

resource "aws_subnet" "nat" {
  count = var.public_subnet ? 0 : 1

  vpc_id            = aws_vpc.this.id
  cidr_block        = local.nat_cidr
  availability_zone = aws_subnet.machines.availability_zone

  tags = merge(var.tags, { Name = "${var.name}-nat" })

  lifecycle {
    precondition {
      condition     = cidrhost("${cidrhost(local.nat_cidr, 0)}/${split("/", var.subnet_cidr)[1]}", 0) != cidrhost(var.subnet_cidr, 0)
      error_message = "network.subnet_cidr ${var.subnet_cidr} takes the last 16 addresses of network.vpc_cidr ${var.vpc_cidr}, where the NAT gateway goes: make the subnet smaller in fleet.yml."
    }
  }
}

locals {
  # The last /28 of the VPC.
  nat_bits = 28 - tonumber(split("/", var.vpc_cidr)[1])
  nat_cidr = cidrsubnet(var.vpc_cidr, local.nat_bits, pow(2, local.nat_bits) - 1)
}

resource "aws_route_table" "nat" {
  count = var.public_subnet ? 0 : 1

  vpc_id = aws_vpc.this.id

  tags = merge(var.tags, { Name = "${var.name}-nat" })
}

resource "aws_route" "nat_out" {
  count = var.public_subnet ? 0 : 1

  route_table_id         = aws_route_table.nat[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "nat" {
  count = var.public_subnet ? 0 : 1

  subnet_id      = aws_subnet.nat[0].id
  route_table_id = aws_route_table.nat[0].id
}

resource "aws_eip" "nat" {
  count = var.public_subnet ? 0 : 1

  domain = "vpc"

  tags = merge(var.tags, { Name = "${var.name}-nat" })
}

resource "aws_nat_gateway" "this" {
  count = var.public_subnet ? 0 : 1

  allocation_id = aws_eip.nat[0].id
  subnet_id     = aws_subnet.nat[0].id

  tags = merge(var.tags, { Name = var.name })

  # The gateway reaches nothing until its route exists.
  depends_on = [aws_route.nat_out]
}
