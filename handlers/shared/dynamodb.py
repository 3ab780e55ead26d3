"""The DynamoDB edge that the rooms share."""


class TableError(Exception):
    """DynamoDB refused a statement for a reason that is not one of its conditions, such as throttling."""
