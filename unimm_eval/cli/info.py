"""`unimm-train info`: what an architecture costs, as a table or as JSON."""

import json
from typing import TYPE_CHECKING, Any

import typer

from unimm_eval.cli.tables import console_for_tables
from unimm_eval.report.plain import one_line
from unimm_eval.train.info import describe, find_architecture

if TYPE_CHECKING:
    from rich.table import Table


def show_info(name: str, *, as_json: bool) -> None:
    """Print parameters, FLOPs a token and memory. Raises UserError for an unknown name."""
    from rich.text import Text

    facts = describe(find_architecture(name))
    if as_json:
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    console = console_for_tables()
    console.print(Text.assemble((one_line(facts["name"]), "bold cyan"), f"  {facts['source']}"))
    console.print(Text(_shape(facts["config"])))
    console.print(_table(facts))
    console.print(Text(facts["flops_per_token"]["convention"], style="dim"))


def _shape(config: dict[str, Any]) -> str:
    """The architecture in words."""
    heads = f"{config['num_heads']}/{config['num_kv_heads']} heads of {config['head_dim']}"
    layer = {
        "shared": f"one FFN of {config['hidden_dim']}",
        "modality": f"an FFN of {config['hidden_dim']} per modality",
        "moe": f"{config['top_k']} of {config['num_experts']} experts of {config['expert_dim']}, "
        f"{config['shared_experts']} shared",
    }[config["feed_forward"]]
    attention = f"{config['attention']} attention, {heads}"
    size = f"{config['num_layers']} layers of {config['dim']}"
    return f"{size}; {attention}; {layer}; {config['prediction']}-pred"


def _table(facts: dict[str, Any]) -> "Table":
    from rich import box
    from rich.table import Table

    parameters, flops, memory = (
        facts[key] for key in ("parameters", "flops_per_token", "memory_bytes")
    )
    rows = [
        ("Parameters", _count(parameters["total"]), "embedding, attention, FFN, router, head"),
        ("  active a token", _count(parameters["active"]), "of text and of a picture alike"),
    ]
    rows += [
        (f"  {name.replace('_', ' ')}", _count(parameters[name]), "besides")
        for name in ("norms", "visual_adapters", "time_embedding")
    ]
    for modality in ("text", "image"):
        for step in ("forward", "training"):
            full, masked = flops[modality][step]["full"], flops[modality][step]["masked"]
            title = f"FLOPs, {modality} token, {step}"
            rows.append((title, _count(full, "G"), f"{_count(masked, 'G')} masked"))
    rows += [
        ("Memory: weights", _bytes(memory["weights"]), "bf16, routers fp32"),
        ("Memory: optimizer", _bytes(memory["optimizer"]), "fp32 masters, two moments of AdamW"),
        ("Memory: cache", _bytes(memory["cache_per_1000_tokens"]), "bf16, 1,000 tokens of a row"),
    ]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")
    for row in rows:
        table.add_row(*row)
    return table


def _count(count: float, billions: str = "B") -> str:
    if count >= 1e9:
        return f"{count / 1e9:,.3f} {billions}"
    return f"{count / 1e6:,.3f} M" if count >= 1e6 else f"{count:,.0f}"


def _bytes(count: int) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
