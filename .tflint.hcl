# Read by tflint 0.54 or newer, which brings the ruleset "terraform" itself. AWS's ruleset is a plugin of its own.
config {
  # Modules are called from this repository alone.
  call_module_type = "local"
}

plugin "terraform" {
  enabled = true
  preset  = "all"
}
