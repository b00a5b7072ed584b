# Read by tflint (0.64 was used), which brings the ruleset "terraform" itself. AWS's ruleset is a plugin of its own.
config {
  # Modules are called only from this repository.
  call_module_type = "local"
}

plugin "terraform" {
  enabled = true
  preset  = "all"
}
