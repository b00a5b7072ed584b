# Read by tflint (0.64 was used), which brings the ruleset "terraform" itself. AWS's ruleset is a plugin of its own.
config {
  # Modules are called from this repository alone.
  call_module_type = "local"
}

plugin "terraform" {
  enabled = true
  preset  = "all"
}
