output "vpc_id" {
  description = "Id of the VPC."
  value       = aws_vpc.this.id
}

output "subnet_id" {
  description = "Id of the machines' subnet."
  value       = aws_subnet.machines.id
}

output "availability_zone" {
  description = "Zone of the machines' subnet."
  value       = aws_subnet.machines.availability_zone
}

output "nat_public_ip" {
  description = "Address that machines without a public one reach out from; null where they have their own."
  value       = one(aws_eip.nat[*].public_ip)
}
