"""Output in gzip is one member, which decompressors read that stop after the first one."""

import gzip
import json
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handlers.csv.gzip_stream import GzipStream


def written(pieces: list[bytes]) -> bytes:
    stream = GzipStream()
    return b"".join([*map(stream.write, pieces), stream.finish()])


def written_in_runs(pieces: list[bytes]) -> bytes:
    """Write each piece with a new stream, restored from the state of the one before through JSON."""
    stream, data = GzipStream(), b""
    for piece in pieces:
        stream = GzipStream(json.loads(json.dumps(stream.state())))
        data += stream.write(piece)
    return data + GzipStream(stream.state()).finish()


@given(pieces=st.lists(st.binary(max_size=2_000), max_size=6))
@example(pieces=[b"a" * 200_000, b"", b"a" * 200_000])
def test_all_pieces_are_in_the_only_member(pieces: list[bytes]) -> None:
    data, content = written(pieces), b"".join(pieces)
    assert written_in_runs(pieces) == data
    if not content:
        assert data == b""
        return
    member = zlib.decompressobj(16 + zlib.MAX_WBITS)
    assert member.decompress(data) == content
    # It has checked the content's CRC and length.
    assert (member.eof, member.unused_data) == (True, b"")
    assert gzip.decompress(data) == content


@pytest.mark.skipif(not shutil.which("perl"), reason="there is no perl on the PATH")
def test_perl_reads_every_row(tmp_path: Path) -> None:
    rows = [b"row %d\n" % number for number in range(20_000)]
    path = tmp_path / "rows.gz"
    path.write_bytes(written([b"".join(rows[start : start + 1_000]) for start in range(0, 20_000, 1_000)]))
    script = "use IO::Uncompress::Gunzip qw(gunzip); gunzip($ARGV[0] => '-') or die"
    done = subprocess.run(["perl", "-e", script, str(path)], capture_output=True, check=True)
    assert done.stdout == b"".join(rows)
