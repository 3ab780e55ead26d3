"""What is deployed: Pulumi components, and the typed config they are built from."""
