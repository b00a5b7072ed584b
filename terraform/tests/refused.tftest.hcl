# What a user can get wrong, each refused with a sentence before anything is made.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  ssh_key_name  = "key"
  allowed_cidrs = ["203.0.113.7/32"]
}

run "no_address" {
  command         = plan
  expect_failures = [var.allowed_cidrs]
  variables { allowed_cidrs = [] }
}

run "empty_address" {
  command         = plan
  expect_failures = [var.allowed_cidrs]
  variables { allowed_cidrs = [""] }
}

run "address_with_empty_lookup" {
  command         = plan
  expect_failures = [var.allowed_cidrs]
  variables { allowed_cidrs = ["/32"] }
}

run "address_without_length" {
  command         = plan
  expect_failures = [var.allowed_cidrs]
  variables { allowed_cidrs = ["203.0.113.7"] }
}

run "ipv6" {
  command         = plan
  expect_failures = [var.allowed_cidrs]
  variables { allowed_cidrs = ["::/0"] }
}

run "whole_internet" {
  command         = plan
  expect_failures = [var.allowed_cidrs]
  variables { allowed_cidrs = ["0.0.0.0/0"] }
}

run "half_the_internet" {
  command         = plan
  expect_failures = [var.allowed_cidrs]
  variables { allowed_cidrs = ["128.0.0.0/1"] }
}

run "address_inside_its_network" {
  command         = plan
  expect_failures = [var.allowed_cidrs]
  variables { allowed_cidrs = ["203.0.113.7/24"] }
}

run "no_key" {
  command         = plan
  expect_failures = [var.ssh_key_name]
  variables { ssh_key_name = " " }
}

run "region_that_is_a_zone" {
  command         = plan
  expect_failures = [var.aws_region]
  variables { aws_region = "us-east-1a" }
}

run "zone_that_is_a_region" {
  command         = plan
  expect_failures = [var.preferred_az]
  variables { preferred_az = "us-east-1" }
}

run "tag_of_the_inventory" {
  command         = plan
  expect_failures = [var.tags]
  variables { tags = { Role = "mine" } }
}

run "tag_of_aws" {
  command         = plan
  expect_failures = [var.tags]
  variables { tags = { "aws:x" = "mine" } }
}

run "environment_with_a_space" {
  command         = plan
  expect_failures = [var.environment]
  variables { environment = "my fleet" }
}

run "empty_profile" {
  command         = plan
  expect_failures = [var.aws_profile]
  variables { aws_profile = "" }
}

run "other_distribution" {
  command         = plan
  expect_failures = [var.ami_ssm_parameter]
  variables { ami_ssm_parameter = "/aws/service/ami-amazon-linux-latest/al2023" }
}

run "no_fleet" {
  command         = plan
  expect_failures = [var.fleet_file]
  variables { fleet_file = "nowhere.yml" }
}
