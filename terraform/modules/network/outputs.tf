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
