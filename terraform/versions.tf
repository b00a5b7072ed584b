terraform {
  # 1.11 is the first release whose S3 backend locks by itself (use_lockfile).
  required_version = ">= 1.11, < 2.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.69"
    }
  }
}
