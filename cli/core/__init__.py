"""The code that commands share.

stack.py      find a stack; load its config, graph and outputs; aim AWS clients at it
durations.py  options that are durations (`90m`) or points in time
json_text.py  read JSON, strictly, and print it (`--json`)
terminal.py   print text of unknown origin safely, and the style of tables
errors.py     turn errors into one line and an exit code
comment.py    text of a pull request as a comment
http.py       requests to a pipeline's API
"""
