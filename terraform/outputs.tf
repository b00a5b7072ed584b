output "account_id" {
  description = "AWS account in which the fleet stands."
  value       = data.aws_caller_identity.current.account_id
}

output "arn" {
  description = "Identity that Terraform acted as."
  value       = data.aws_caller_identity.current.arn
}

output "region" {
  description = "Region of the fleet."
  value       = data.aws_region.current.region
}

output "availability_zone" {
  description = "Zone that offers every instance type of the fleet; machines and data volumes stand there."
  value       = module.network.availability_zone
}

output "vpc_id" {
  description = "Id of the VPC."
  value       = module.network.vpc_id
}

output "subnet_id" {
  description = "Id of the machines' subnet."
  value       = module.network.subnet_id
}

output "security_groups" {
  description = "Security group id of each role."
  value       = module.security.group_ids
}

output "instance_ids" {
  description = "Instance id of each machine."
  value       = module.instances.ids
}

output "image_ids" {
  description = "Image that each machine was made from; a newer one is taken by replacing the machine."
  value       = module.instances.image_ids
}

output "instance_private_ips" {
  description = "Private address of each machine."
  value       = module.instances.private_ips
}

output "instance_public_ips" {
  description = "Public address of each machine; an empty string where it has none. A stop and start changes it."
  value       = module.instances.public_ips
}

output "data_volume_ids" {
  description = "Id of each data volume by the machine that holds it."
  value       = module.instances.data_volume_ids
}

output "nat_public_ip" {
  description = "Address from which machines without a public one reach out; null where they have their own."
  value       = module.network.nat_public_ip
}
