"""Kubernetes: where step pods go, how steps run as pods, why a pod does not run, and the look at a deployment."""
