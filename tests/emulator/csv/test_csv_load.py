"""Many small files beside one of several runs: nobody waits for ever, counts are exact, one notice each."""

import time

from .conftest import HEADER, Files, Time, rows

SMALL = 500


def test_five_hundred_small_files_beside_one_of_several_runs_are_all_done_once(files: Files) -> None:
    files.upload("raw/large.csv", HEADER + rows(1_000))
    for number in range(SMALL):
        body = (HEADER + rows(3)).encode()
        files.root("s3").put_object(Bucket=files.outputs["input_bucket"], Key=f"raw/{number}.csv", Body=body)
    deadline = time.monotonic() + 60
    while files._depth() < SMALL + 1:
        assert time.monotonic() < deadline, "not all files were announced"
        time.sleep(0.1)
    deliveries = 0
    while records := files.receive():
        # One file to a run, as the stack's default is; a run of the large one ends long before its end.
        for record in records:
            deliveries += 1
            files.deliver([record], Time(3))
        assert deliveries < 2 * SMALL
    by_key = {item["key"]: item for item in files.items().values()}
    assert len(by_key) == SMALL + 1
    assert {item["status"] for item in by_key.values()} == {"succeeded"}
    assert deliveries > SMALL + 3, "the large file took several runs"
    assert {item["rows"] for key, item in by_key.items() if key != "raw/large.csv"} == {"3"}
    assert by_key["raw/large.csv"]["rows"] == "1000"
    told = files.told()
    assert len(told) == len({notice["id"] for notice in told}) == SMALL + 1
    assert files.dead_letters() == []
    # A list of objects has a thousand at most.
    files.clear()
