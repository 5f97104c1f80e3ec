"""Records beyond the folder of a run: published, checked, and in the forms of others.

* `layout`: where a published record stands, and what may stand beside it;
* `check`: what a repository of results asks of every record, alone and among the others;
* `publish`: from the folder of a run to a record in `results/`;
* `every_eval_ever`, `hugging_face`, `lm_eval`: the same numbers for the tools of others.
"""
