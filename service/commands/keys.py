"""`tidegate keys`: access keys, kept in the store as digests."""

import argparse
import sys
from datetime import UTC, datetime

from service.cli import settings_of
from service.house import open_store
from service.web.auth import create_key, key_line, list_keys, revoke_key


def run(options: argparse.Namespace) -> int:
    """Create, list or revoke; works beside a running service and without one."""
    if options.what == "create" and options.line:
        line, token = key_line(options.name, options.scope, options.model)
        sys.stderr.write(f"key of {options.name}, shown this once: {token}\n")
        sys.stdout.write(f"{line}\n")
        return 0
    with open_store(settings_of(options), beside=True) as store:
        now = datetime.now(UTC)
        if options.what == "create":
            made, token = create_key(store, options.name, options.scope, options.model, now)
            sys.stderr.write(f"key {made.id} for {made.name}; it is shown this once:\n")
            sys.stdout.write(f"{token}\n")
        elif options.what == "revoke":
            sys.stdout.write(f"revoked {revoke_key(store, options.id, now).id}\n")
        else:
            for key in list_keys(store):
                state = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "in force"
                models = ", ".join(key.models) or "all models"
                sys.stdout.write(f"{key.id}  {state}  {', '.join(key.scopes)}  {models}  {key.name}\n")
    return 0
