"""How long a large leaderboard takes: to build, to load, and until it can be used.

    python -m bench.leaderboard [--records 1000]

Makes records of six mini tasks (32 metrics) in a temporary folder, builds the site, and reports
the seconds of the build (wall and CPU), the compressed bytes of everything that the first page
loads, and, where Chromium is installed, the seconds from navigation until the page is interactive,
until its script has drawn the table, and how much CPU its main thread took for all of it (median of
several loads from a file). Writes `results/bench/leaderboard.json`. On a machine that does other
work only the CPU seconds mean something.
"""

import argparse
import gzip
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from unimm_eval.engine.machine import processor
from unimm_eval.leaderboard import build_site
from unimm_eval.leaderboard.render import ASSETS

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "results" / "bench" / "leaderboard.json"
LOADS = 5
READY = """
const done = arguments[arguments.length - 1];
const entry = performance.getEntriesByType("navigation")[0];
const tell = () => done({
  interactive: entry.domInteractive, loaded: entry.domContentLoadedEventEnd,
});
document.documentElement.dataset.ready === "" ? tell() : addEventListener("load", tell);
"""


def make_records(results: Path, count: int) -> int:
    """Records of models of growing skill and size; how many numbers are in them."""
    sys.path.insert(0, str(ROOT / "tests" / "leaderboard"))
    from synthetic_records import MINI, facts_of, publish

    from unimm_eval.engine.registry import task_entries

    cards = {name: entry.card for name, entry in task_entries().items()}
    for index in range(count):
        facts = facts_of(1e6 * 1.01**index, tokens=1e8 * (1 + index))
        name = f"model {index:04d}"
        publish(results, name, tasks=MINI, skill=index / count, facts=facts, cards=cards)
    return count * sum(len(cards[task].metrics) for task in MINI)


def first_page_bytes(site: Path) -> int:
    """Compressed bytes of the first page and all that it loads."""
    files = [site / "index.html", *(site / "assets" / name for name in ASSETS)]
    return sum(len(gzip.compress(file.read_bytes(), 6)) for file in files)


def load_seconds(site: Path) -> dict[str, float] | None:
    """Median seconds since navigation in Chromium; None where it is not installed."""
    driver_path, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if driver_path is None or chromium is None:
        return None
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    found: list[dict[str, float]] = []
    try:
        driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        for _ in range(LOADS):
            driver.get("about:blank")
            driver.get((site / "index.html").as_uri())
            times = driver.execute_async_script(READY)
            metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
            spent = {each["name"]: each["value"] for each in metrics}
            found.append(
                {key: value / 1000 for key, value in times.items()}
                | {"main_thread_cpu": spent["TaskDuration"]}
            )
    finally:
        driver.quit()
    return {key: statistics.median(each[key] for each in found) for key in found[0]}


def measure(count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        results, site = Path(scratch) / "results", Path(scratch) / "site"
        numbers = make_records(results, count)
        wall, cpu = time.perf_counter(), time.process_time()
        built = build_site(results, site)
        seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        assert not built.left_out, built.left_out[0]
        return {
            "records": count,
            "numbers": numbers,
            "pages": built.pages,
            "build_seconds": seconds,
            "first_page_bytes": first_page_bytes(site),
            "load_seconds": load_seconds(site),
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1000)
    record = {"processor": processor(), **measure(parser.parse_args().records)}
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))
