"""What runs in Lambda, zipped as it is. Cold start is a feature: every import here is paid for at each one."""
