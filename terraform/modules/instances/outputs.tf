output "ids" {
  description = "Instance id of each machine."
  value       = { for name, machine in aws_instance.machine : name => machine.id }
}

output "image_ids" {
  description = "Image that each machine was made from."
  value       = { for name, machine in aws_instance.machine : name => machine.ami }
}

output "private_ips" {
  description = "Private address of each machine."
  value       = { for name, machine in aws_instance.machine : name => machine.private_ip }
}

output "public_ips" {
  description = "Public address of each machine; an empty string where it has none."
  value       = { for name, machine in aws_instance.machine : name => machine.public_ip }
}

output "data_volume_ids" {
  description = "Id of each data volume by the machine that holds it."
  value       = { for name, volume in aws_ebs_volume.data : name => volume.id }
}
