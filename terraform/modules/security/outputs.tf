output "group_ids" {
  description = "Security group id of each role."
  value       = { for role, group in aws_security_group.role : role => group.id }
}
