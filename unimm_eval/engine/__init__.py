"""The engine: from a model and task names to the record of a run, with nothing lost on the way.

Read it in the order of a run:

* `evaluate`: the public entry; `preflight` finds every problem before anything is loaded, with the
  help of `registry` (which tasks and models there are) and `settings` (what `--set` changes);
* `plan`: samples, the items to produce and the batches they are produced in, fixed once;
* `run`: the folder of a run, who may use it, and reading it back; `store` holds outputs and scores,
  `files` makes every other file whole or absent;
* `execute`: produce → store → judge → store → summarize, a task at a time; `results` turns metrics
  into rows of the record and the store into `samples/<task>.parquet`; `progress` tells whoever
  watches.

Two rules make a killed run end like one that was never stopped. A batch is the unit of work: all of
its outputs are committed in one transaction or none is, and batches depend on the plan alone, never
on what was done before. And every later step reads the store, never memory.
"""
