"""`berth server` and its sub-commands: run the control plane, or issue a kubeconfig from its authority."""

from __future__ import annotations

from pathlib import Path

import click

from cli.configuration import configuration_option
from cli.logs import LOG_LEVEL, start_logging
from cli.parameters import DIRECTORY, PORT, AddressType, NodeNameType, ServerURLType
from controlplane.settings import Component, ServerSettings

data_dir_option = click.option(
    "--data-dir",
    type=DIRECTORY,
    required=True,
    help="Where the server keeps its database, authority and kubeconfig files.",
)


class ComponentsType(click.ParamType[tuple[Component, ...]]):
    """A comma-separated choice of apiserver, scheduler, controllers."""

    name = "LIST"

    def convert(
        self,
        value: str | tuple[Component, ...],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[Component, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(Component(name.strip()) for name in value.split(","))
        except ValueError:
            known = ",".join(component.value for component in Component)
            self.fail(f"{value!r} names an unknown component; choose from {known}", param, ctx)


@click.group(
    invoke_without_command=True,
    epilog="Example: berth server --data-dir /var/lib/berth-server --advertise-address 192.168.56.10",
    context_settings={"show_default": True},
)
@configuration_option
@click.option(
    "--data-dir", type=DIRECTORY, help="Where the server keeps its database, authority and kubeconfigs."
)
@click.option("--bind-address", type=AddressType(), default="0.0.0.0", help="Address to listen on.")
@click.option("--secure-port", type=PORT, default=6443, help="Port to listen on.")
@click.option(
    "--advertise-address", type=AddressType(), default="", help="The address nodes reach the server at."
)
@click.option("--service-cidr", default="10.96.0.0/16", help="Where cluster IPs come from.")
@click.option("--cluster-cidr", default="10.244.0.0/16", help="Where the nodes' pod CIDRs come from.")
@click.option("--cluster-dns", type=AddressType(), default="10.96.0.10", help="The cluster DNS address.")
@click.option("--cluster-domain", default="cluster.local", help="The cluster's DNS domain.")
@click.option(
    "--components",
    type=ComponentsType(),
    default="apiserver,scheduler,controllers",
    help="What this process runs.",
)
@click.option("--storage", type=click.Choice(["sqlite"]), default="sqlite", help="Where objects are kept.")
@click.option(
    "--log-level",
    type=LOG_LEVEL,
    default="info",
    help="What to log.",
)
@click.pass_context
def server(ctx: click.Context, /, log_level: str, data_dir: Path | None, **settings: object) -> None:
    """Run the control plane: API server, scheduler and controllers in one process.

    The first start makes a certificate authority and DATA_DIR/kubeconfig/admin.yaml, which kubectl uses
    as it is.
    """
    if ctx.invoked_subcommand is not None:
        return
    if data_dir is None:
        raise click.UsageError("--data-dir is missing: name the directory for the database and certificates")
    from controlplane.app import run_server_process

    start_logging(log_level)
    settings.pop("storage")
    run_server_process(ServerSettings(data_dir=data_dir, **settings))  # type: ignore[arg-type]


@server.command(
    epilog="Example: berth server kubeconfig --data-dir /var/lib/berth-server --node n1 "
    "--server https://192.168.56.10:6443 > n1.kubeconfig"
)
@data_dir_option
@click.option("--node", type=NodeNameType(), help="Issue a node's credentials.")
@click.option("--admin", is_flag=True, help="Use the administrator's credentials.")
@click.option(
    "--server", "server_url", type=ServerURLType(), required=True, help="How the holder reaches the server."
)
def kubeconfig(data_dir: Path, node: str | None, admin: bool, server_url: str) -> None:
    """Print a kubeconfig with credentials signed by this server's authority."""
    if (node is None) != admin:
        raise click.UsageError("say whose kubeconfig it is: either --node NAME or --admin")
    from controlplane.credentials import issue_kubeconfig

    click.echo(issue_kubeconfig(data_dir, node_name=node, server_url=server_url), nl=False)
