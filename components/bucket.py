"""A bucket."""

from collections.abc import Mapping

import pulumi
import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from components.encryption import BLOCKED_ENCRYPTION_TYPES
from components.grants import Grant
from components.options.common import ProtectionOptions
from components.policies import deny_plain_http


class Bucket(pulumi.ComponentResource):
    """A private, encrypted, TLS-only bucket. Call `expire` once its users are known."""

    def __init__(
        self,
        name: str,
        options: ProtectionOptions,
        *,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("datapipeline:index:Bucket", name, None, opts)
        # A bucket that is kept keeps its protection: to delete its versioning would suspend it, for one.
        child = ResourceOptions(parent=self, retain_on_delete=options.retain_data)
        bucket = aws.s3.Bucket(
            name,
            # A bucket that is not to be kept must not stop `pulumi destroy` because something lies in it.
            force_destroy=not options.retain_data,
            opts=child,
        )
        closed = aws.s3.BucketPublicAccessBlock(
            name,
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        aws.s3.BucketOwnershipControls(
            name,
            bucket=bucket.id,
            rule={"object_ownership": "BucketOwnerEnforced"},
            opts=child,
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            name,
            bucket=bucket.id,
            rules=[
                {
                    "apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"},
                    # AWS's defaults, said so that none of the provider's versions sees a difference.
                    "bucket_key_enabled": False,
                    "blocked_encryption_types": BLOCKED_ENCRYPTION_TYPES,
                }
            ],
            opts=child,
        )
        if options.bucket_versioning:
            aws.s3.BucketVersioning(
                name,
                bucket=bucket.id,
                versioning_configuration={"status": "Enabled"},
                opts=child,
            )
        aws.s3.BucketPolicy(
            name,
            bucket=bucket.id,
            policy=deny_plain_http("s3:*", bucket.arn, Output.concat(bucket.arn, "/*")),
            # S3 refuses two changes of a bucket's access at once.
            opts=ResourceOptions.merge(child, ResourceOptions(depends_on=[closed])),
        )
        self._label, self._child = name, child
        self._versioned = options.bucket_versioning
        self.arn = bucket.arn
        self.name = bucket.bucket
        self.register_outputs({"name": self.name})

    def expire(self, after_days: Mapping[str, int | None]) -> None:
        """Expire objects below prefixes (`results/`) after days, or never (None), and clean up after failed writes."""
        aws.s3.BucketLifecycleConfiguration(
            self._label, bucket=self.name, rules=_lifecycle(after_days), opts=self._child
        )

    def grant_write(self, prefix: str) -> Grant:
        """To write objects below a prefix (`results/`)."""
        return Grant(
            ("s3:PutObject",),
            (Output.concat(self.arn, "/", prefix, "*"),),
            {"BUCKET_NAME": self.name},
            why=f"write to {prefix}",
        )

    def grant_write_parts(self, prefix: str) -> Grant:
        """To write large objects below a prefix in parts, to give up doing so, and to see whether one is there."""
        return Grant(
            ("s3:PutObject", "s3:AbortMultipartUpload", "s3:GetObject"),
            (Output.concat(self.arn, "/", prefix, "*"),),
            {"BUCKET_NAME": self.name},
            why=f"write to {prefix} in parts",
        )

    def grant_read_announced(self, prefix: str) -> Grant:
        """To read objects below a prefix that S3 announced: it names the bucket, and the version where there are any.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html (Permissions)
        """
        # Objects that are older than the versions have none.
        return Grant(
            ("s3:GetObject", "s3:GetObjectVersion") if self._versioned else ("s3:GetObject",),
            (Output.concat(self.arn, "/", prefix, "*"),),
            why=f"read from {prefix}",
        )

    def grant_see_missing(self, what: str = "an object") -> Grant:
        """To be told that an object is gone; without it, S3 answers that it is forbidden.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html (Permissions)
        """
        return Grant(("s3:ListBucket",), (self.arn,), why=f"be told that {what} is gone")

    def grant_put(self, key: str) -> Grant:
        """To write one object."""
        resources = (Output.concat(self.arn, "/", key),)
        return Grant(("s3:PutObject",), resources, {"BUCKET_NAME": self.name}, why=f"write {key}")

    def grant_keep(self, key: str) -> Grant:
        """To write, read and delete one object."""
        return Grant(
            ("s3:PutObject", "s3:GetObject", "s3:DeleteObject"),
            (Output.concat(self.arn, "/", key),),
            {"BUCKET_NAME": self.name},
            why=f"keep {key}",
        )

    def grant_remove(self, *prefixes: str) -> Grant:
        """To delete objects below prefixes."""
        resources = tuple(Output.concat(self.arn, "/", prefix, "*") for prefix in prefixes)
        return Grant(("s3:DeleteObject",), resources, why="remove outputs that no longer apply")

    def grant_list(self) -> Grant:
        """To list the objects."""
        return Grant(("s3:ListBucket",), (self.arn,), why="find objects")

    def grant_merge(self, prefix: str) -> Grant:
        """To delete objects below a prefix that were merged into another one."""
        return Grant(("s3:DeleteObject",), (Output.concat(self.arn, "/", prefix, "*"),), why="delete what was merged")

    def grant_read(self, prefix: str) -> Grant:
        """To read objects below a prefix, also by a signed URL that the function hands out."""
        return Grant(
            ("s3:GetObject",),
            (Output.concat(self.arn, "/", prefix, "*"),),
            {"BUCKET_NAME": self.name},
            why=f"read from {prefix}",
        )


def _lifecycle(expire_after_days: Mapping[str, int | None]) -> list[aws.s3.BucketLifecycleConfigurationRuleArgsDict]:
    rules: list[aws.s3.BucketLifecycleConfigurationRuleArgsDict] = [
        {
            "id": f"expire-{prefix.strip('/')}",
            "status": "Enabled",
            "filter": {"prefix": prefix},
            "expiration": {"days": days},
        }
        for prefix, days in expire_after_days.items()
        if days is not None
    ]
    rules.append(
        {
            "id": "clean-up",
            "status": "Enabled",
            "filter": {"prefix": ""},
            "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
            # Versions that a retry or a newer file left behind.
            "noncurrent_version_expiration": {"noncurrent_days": 30},
        },
    )
    return rules
