# A fleet without public addresses.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  ssh_key_name  = "key"
  allowed_cidrs = ["203.0.113.7/32"]
  public_subnet = false
}

run "private" {
  assert {
    condition     = output.nat_public_ip != null && length(output.instance_ids) == 4
    error_message = "Machines without public addresses need a NAT gateway."
  }
}
