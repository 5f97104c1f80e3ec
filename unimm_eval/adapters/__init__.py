"""The models a run can judge, one file a family."""
