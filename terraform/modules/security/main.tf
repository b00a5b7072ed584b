locals {
  # What a flow may start from besides a role: networks by name.
  networks = merge({ for name, cidrs in var.outside : name => [for cidr in cidrs : strcontains(cidr, "/") ? cidr : "${cidr}/32"] }, { operator = var.allowed_cidrs })

  # One entry for each pair of role and source. The key says what the rule allows, so that adding machines, flows or
  # operators changes no existing rule.
  pairs = flatten([
    for flow in var.flows : [
      for to in(flow.to == "all" ? var.roles : [flow.to]) : [
        for source in(contains(keys(local.networks), flow.from) ? local.networks[flow.from] : flow.from == "all" ? var.roles : [flow.from]) : {
          key    = "${source} to ${to}:${flow.port}"
          to     = to
          port   = flow.port
          cidr   = contains(keys(local.networks), flow.from) ? source : null
          source = contains(keys(local.networks), flow.from) ? null : source
        }
      ]
    ]
  ])

  # Two flows may overlap (a role by name and by 'all'); AWS refuses the same rule twice.
  rules = { for key, same in { for pair in local.pairs : pair.key => pair... } : key => same[0] }
}

resource "aws_security_group" "role" {
  #checkov:skip=CKV2_AWS_5: every group is attached, by way of the instances module, where checkov does not follow

  for_each = var.roles

  name        = "${var.name}-${each.key}"
  description = "Machines of the role ${each.key}"
  vpc_id      = var.vpc_id

  tags = merge(var.tags, { Name = "${var.name}-${each.key}", Role = each.key })
}

resource "aws_vpc_security_group_ingress_rule" "flow" {
  for_each = local.rules

  security_group_id            = aws_security_group.role[each.value.to].id
  description                  = "${each.key}, by fleet.yml"
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  cidr_ipv4                    = each.value.cidr
  referenced_security_group_id = each.value.source == null ? null : aws_security_group.role[each.value.source].id

  tags = merge(var.tags, { Name = each.key })
}

resource "aws_vpc_security_group_egress_rule" "out" {
  for_each = var.roles

  security_group_id = aws_security_group.role[each.key].id
  description       = "Everything out: packages and images"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"

  tags = merge(var.tags, { Name = "${each.key} to anywhere" })
}
