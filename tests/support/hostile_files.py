"""Hostile recordings of the kinds that FFmpeg reads, made by hand, box by box; each with what it is answered."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from uuid import UUID

import av
import numpy as np

# What no message may contain.
LIBRARY_WORDS = ("av.", "ffmpeg", "avcodec", "libav", "[Errno", "Invalid data", "Traceback", ".py", "/tmp", "\n")

RATE, COUNT = 8_000, 32_000  # samples
PCM = np.random.default_rng(0).normal(0, 3000, COUNT).astype("<i2").tobytes()
HUGE = 2**31 - 1
Make = Callable[[], bytes]


def encode(codec: str, form: str, rate: int = 44_100, layout: str = "stereo", seconds: float = 4, **tags: str) -> bytes:
    """Noise in any format that FFmpeg writes."""
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        container.metadata.update(tags)
        stream = container.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 128_000
        n_channels = len(av.AudioLayout(layout).channels)
        noise = np.random.default_rng(0).normal(0, 0.1, (1, int(seconds * rate) * n_channels)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(noise, "flt", layout)
        frame.sample_rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return file.getvalue()


# --- MP4: boxes.


def u32(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return u32(8 + len(body)) + kind + body


def full(kind: bytes, *parts: bytes) -> bytes:
    """A box with version and flags of 0."""
    return box(kind, bytes(4), *parts)


def entry(codec: bytes = b"sowt", channels: int = 1, bits: int = 16, more: bytes = b"") -> bytes:
    fields = struct.pack(">6xHHHIHHHHI", 1, 0, 0, 0, channels, bits, 0, 0, RATE << 16)
    return full(b"stsd", u32(1), box(codec, fields, more))


def esds(config: bytes) -> bytes:
    decoder = b"\4" + bytes([15 + len(config)]) + b"\x40\x15" + bytes(11) + b"\5" + bytes([len(config)]) + config
    return full(b"esds", b"\3" + bytes([3 + len(decoder)]) + b"\0\1\0" + decoder)


def alac(samples: int, channels: int, rate: int) -> bytes:
    config = struct.pack(">IBBBBBBHIII", samples, 0, 16, 40, 10, 14, channels, 255, 0, 0, rate)
    return entry(b"alac", more=full(b"alac", config))


AAC = entry(b"mp4a", more=esds(b"\x15\x88"))


def tables(
    codec: bytes = b"",
    count: int = COUNT,
    times: bytes = b"",
    chunks: bytes = b"",
    sizes: bytes = b"",
    offsets: bytes = b"",
    more: bytes = b"",
) -> bytes:
    """Where the samples are: of two bytes, one after the other in one chunk, unless a table says something else."""
    return box(
        b"stbl",
        codec or entry(),
        times or full(b"stts", u32(1, count, 1)),
        chunks or full(b"stsc", u32(1, 1, count, 1)),
        sizes or full(b"stsz", u32(2, count)),
        offsets or full(b"stco", u32(1, 36)),
        more,
    )


def claim(count: int, codec: bytes = AAC) -> bytes:
    """Tables of so many samples, in a few bytes."""
    times, chunks = full(b"stts", u32(1, count, 1)), full(b"stsc", u32(1, 1, count, 1))
    return tables(codec, times=times, chunks=chunks, sizes=full(b"stsz", u32(1, count)))


def track(
    table: bytes = b"", handler: bytes = b"soun", source: bytes = b"", edits: bytes = b"", duration: int = COUNT
) -> bytes:
    source = source or box(b"url ", u32(1))
    inner = (full(b"smhd", bytes(4)), box(b"dinf", full(b"dref", u32(1), source)), table or tables())
    media = (
        full(b"mdhd", u32(0, 0, RATE, duration, 0)),
        full(b"hdlr", bytes(4), handler, bytes(13)),
        box(b"minf", *inner),
    )
    return box(b"trak", full(b"tkhd", u32(0, 0, 1, 0, duration), bytes(60)), edits, box(b"mdia", *media))


def moov(*parts: bytes) -> bytes:
    return box(b"moov", full(b"mvhd", u32(0, 0, RATE, COUNT), bytes(80)), *parts)


FTYP = box(b"ftyp", b"M4A ", bytes(4), b"M4A mp42isom")


def mp4(*parts: bytes) -> bytes:
    return FTYP + box(b"mdat", PCM) + b"".join(parts)


def song(codec: bytes = b"", **more: bytes) -> bytes:
    return mp4(moov(track(tables(codec, **more))))


def nested(depth: int) -> bytes:
    return b"".join(u32(8 * (depth - level)) + b"moov" for level in range(depth))


def edits(count: int, stated: int, duration: int) -> bytes:
    return box(b"edts", full(b"elst", u32(stated), u32(duration, 0, 65_536) * count))


def tagged(*items: bytes) -> bytes:
    head = full(b"hdlr", bytes(4), b"mdirappl", bytes(10))
    return mp4(moov(track(), box(b"udta", full(b"meta", head, box(b"ilst", *items)))))


def cover(size: int) -> bytes:
    return tagged(box(b"covr", box(b"data", u32(13, 0), b"\xff\xd8\xff", bytes(size))))


def own_tags(count: int) -> bytes:
    names = (full(b"name", b"t%d" % number) for number in range(count))
    return tagged(*(box(b"----", full(b"mean", b"x"), name, box(b"data", u32(1, 0), b"v")) for name in names))


def fragmented(*runs: bytes) -> bytes:
    head = full(b"mfhd", u32(1))
    fragments = (box(b"moof", head, box(b"traf", full(b"tfhd", u32(1)), full(b"trun", run))) for run in runs)
    return mp4(moov(track(tables(count=0)), box(b"mvex", full(b"trex", u32(1, 1, 1, 2, 0)))), *fragments)


def compressed_header(size: int) -> bytes:
    return mp4(
        box(b"moov", box(b"cmov", box(b"dcom", b"zlib"), box(b"cmvd", u32(size), zlib.compress(bytes(size), 1))))
    )


def url(address: bytes) -> bytes:
    return mp4(moov(track(source=box(b"url ", bytes(4), address, b"\0"))))


REPEATED = tables(
    AAC,
    times=full(b"stts", u32(1, 2000, 16)),
    chunks=full(b"stsc", u32(1, 1, 2000, 1)),
    sizes=full(b"stsz", u32(0, 2000), u32(16) * 2000),
)
ENDLESS_CHUNKS = {
    "times": full(b"stts", u32(1, HUGE, 1)),
    "sizes": full(b"stsz", u32(2, HUGE)),
    "offsets": full(b"stco", u32(10**5), u32(36) * 10**5),
}

# --- Matroska: elements.


def size_of(number: int) -> bytes:
    return (number | 1 << 56).to_bytes(8, "big")


UNKNOWN = b"\1" + b"\xff" * 7


def element(number: str, *parts: bytes, size: bytes = b"") -> bytes:
    body = b"".join(parts)
    return bytes.fromhex(number) + (size or size_of(len(body))) + body


def u64(number: int) -> bytes:
    return number.to_bytes(8, "big")


def stream(
    codec: bytes = b"A_PCM/INT/LIT", kind: int = 2, rate: float = RATE, channels: int = 1, more: bytes = b""
) -> bytes:
    sound = (element("B5", struct.pack(">d", rate)), element("9F", u64(channels)), element("6264", u64(16)))
    numbers = element("D7", u64(1)), element("73C5", u64(1)), element("83", u64(kind))
    return element("AE", *numbers, element("86", codec), element("E1", *sound), more)


def block(data: bytes, flags: int = 0x80) -> bytes:
    return element("A3", b"\x81\0\0", bytes([flags]), data)


def cluster(milliseconds: int, *blocks: bytes, size: bytes = b"") -> bytes:
    return element("1F43B675", element("E7", u64(milliseconds)), *blocks, size=size)


EBML = element("1A45DFA3", element("4282", b"matroska"))
CLUSTERS = b"".join(cluster(500 * n, block(PCM[n * 8000 : (n + 1) * 8000])) for n in range(8))


def matroska(*parts: bytes, duration: float = 4000.0, scale: int = 10**6, tracks: tuple[bytes, ...] = ()) -> bytes:
    info = element("1549A966", element("2AD7B1", u64(scale)), element("4489", struct.pack(">d", duration)))
    return EBML + element("18538067", info, element("1654AE6B", *(tracks or (stream(),))), *parts, size=UNKNOWN)


def of_track(*tracks: bytes) -> bytes:
    return matroska(CLUSTERS, tracks=tracks)


def simple_tags(count: int) -> bytes:
    tags = (element("67C8", element("45A3", b"k%d" % n), element("4487", b"v")) for n in range(count))
    return element("1254C367", element("7373", element("63C0"), *tags))


def index(count: int) -> bytes:
    """Of times that descend, so that each is put before all others."""
    places = element("F7", u64(1)) + element("F1", u64(0))
    points = (element("BB", element("B3", u64(count - n)), element("B7", places)) for n in range(count))
    return element("1C53BB6B", *points)


def packed(algorithm: int, settings: bytes = b"", scope: int = 1) -> bytes:
    """A track's encoding: 0 is zlib, 3 puts a header before each block."""
    how = element("4254", u64(algorithm)) + (element("4255", settings) if settings else b"")
    one = element("5031", u64(0)), element("5032", u64(scope)), element("5033", u64(0)), element("5034", how)
    return element("6D80", element("6240", *one))


# --- Ogg, FLAC, ID3 and the others.


def checksum(page: bytes) -> int:
    remainder = 0
    for byte in page:
        remainder ^= byte << 24
        for _ in range(8):
            remainder = (remainder << 1 ^ (0x04C11DB7 if remainder & 0x80000000 else 0)) & 0xFFFFFFFF
    return remainder


def page(body: bytes, number: int, flags: int = 0, serial: int = 1, end: int = 0) -> bytes:
    """A page of Ogg, of whole packets of up to 255 bytes or of a part of a longer one."""
    sizes = b"\xff" * (len(body) // 255) + (bytes([len(body) % 255]) if len(body) % 255 else b"")
    content = b"OggS\0" + struct.pack("<BqIII", flags, end, serial, number, 0) + bytes([len(sizes)]) + sizes + body
    return content[:22] + struct.pack("<I", checksum(content)) + content[26:]


def pages(packet: bytes, first: int) -> bytes:
    step = 255 * 255
    starts = range(0, len(packet), step)
    parts = (page(packet[s : s + step], first + n, 0 if s == 0 else 1) for n, s in enumerate(starts))
    return b"".join(parts)


def comments(count: int) -> bytes:
    items = (b"k%d=v" % n for n in range(count))
    return struct.pack("<II", 0, count) + b"".join(struct.pack("<I", len(item)) + item for item in items)


OPUS_OF_3 = b"OpusHead\1\3\0\0" + struct.pack("<Ih", 48_000, 0) + b"\1\2\1\0\2\1"  # libsndfile leaves it to FFmpeg
SPEEX = b"Speex   " + b"1.2".ljust(20, b"\0") + struct.pack("<13i", 1, 80, RATE, 0, 4, 1, -1, 160, 0, 1, 0, 0, 0)


def opus(count: int) -> bytes:
    packet = b"OpusTags" + comments(count)
    packet += b" " * (255 - len(packet) % 255 - 1)  # ends in its last page
    return page(OPUS_OF_3, 0, 2) + pages(packet, 1) + page(b"\x08\xff\xfe" * 2, 99, 4, end=4 * 48_000)


def speex(*packets: bytes, head: bytes = SPEEX) -> bytes:
    return page(head, 0, 2) + b"".join(page(packet, 1 + n, end=160 * n) for n, packet in enumerate(packets))


def flac(*blocks: tuple[int, bytes], rate: int = RATE, channels: int = 1, count: int = COUNT) -> bytes:
    """Blocks of metadata and no frame that decodes."""
    info = (
        struct.pack(">HH", 16, 65_535)
        + bytes(6)
        + (rate << 44 | channels - 1 << 41 | 15 << 36 | count).to_bytes(8, "big")
        + bytes(16)
    )
    body = b"".join(bytes([kind]) + len(data).to_bytes(3, "big") + data for kind, data in ((0, info), *blocks))
    return b"fLaC" + body + b"\x81\0\0\0" + b"\xff\xf8" + bytes(999)


def id3(count: int = 0, kind: bytes = b"TXXX", body: bytes = b"") -> bytes:
    def synchsafe(size: int) -> bytes:
        return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))

    texts = (b"\0k%d\0v" % n if kind == b"TXXX" else b"k%d\0v" % n for n in range(count))
    frames = body + b"".join(kind + synchsafe(len(text)) + b"\0\0" + text for text in texts)
    return b"ID3\4\0\0" + synchsafe(len(frames)) + frames


def wav(*chunks: tuple[bytes, bytes], channels: int = 3) -> bytes:
    """Three channels, which FFmpeg decodes."""
    form = struct.pack("<HHIIHH", 1, channels, RATE, RATE * 2 * channels, 2 * channels, 16)
    parts = (name + struct.pack("<I", len(data)) + data for name, data in ((b"fmt ", form), *chunks))
    return b"RIFF\xff\xff\xff\xffWAVE" + b"".join(parts)


def aiff(*chunks: tuple[bytes, bytes]) -> bytes:
    form = struct.pack(">hIh", 3, 8_000, 16) + b"\x40\x0b\xfa" + bytes(7)
    parts = (name + u32(len(data)) + data for name, data in ((b"COMM", form), *chunks, (b"SSND", bytes(8) + PCM)))
    return b"FORM\x7f\xff\xff\xffAIFF" + b"".join(parts)


def even(data: bytes) -> bytes:
    return data + bytes(len(data) % 2)


def asf(extra: bytes = b"", count: int = 0, size: int | None = None) -> bytes:
    """Windows Media with more objects in its header."""
    content = encode("wmav2", "asf")
    head, known = struct.unpack("<QI", content[16:28])
    stated = head + len(extra) if size is None else size
    start = content[:16] + struct.pack("<QI", stated, known + count)
    return start + content[28:head] + extra + content[head:]


def asf_object(name: str, body: bytes, size: int | None = None) -> bytes:
    return UUID(name).bytes_le + struct.pack("<Q", 24 + len(body) if size is None else size) + body


UNKNOWN_OBJECT = "00000000-0000-0000-0000-000000000001"
LONG_CONTENT = "D2D0A440-E307-11D2-97F0-00A0C95EA850"


def content_tags(count: int) -> bytes:
    names = [f"k{n}\0".encode("utf-16-le") for n in range(count)]
    items = (struct.pack("<H", len(name)) + name + b"\1\0\2\0v\0" for name in names)
    return asf_object(LONG_CONTENT, struct.pack("<H", count) + b"".join(items))


def caf(
    *chunks: tuple[bytes, bytes, int | None], codec: bytes = b"lpcm", channels: int = 1, rate: float = RATE
) -> bytes:
    packet = (2, 1) if codec == b"lpcm" else (0, 4096)
    form = struct.pack(">d4s5I", rate, codec, 2, *packet, channels, 16)
    parts = ((b"desc", form, None), *chunks, (b"data", bytes(4) + PCM, None))
    body = (name + struct.pack(">q", len(data) if size is None else size) + data for name, data, size in parts)
    return b"caff\0\1\0\0" + b"".join(body)


def ape(frames: int, stated: int | None = None, block: int = 73_728, level: int = 2000, channels: int = 2) -> bytes:
    count = frames if stated is None else stated
    table = struct.pack(f"<{frames}I", *(76 + 4 * frames + 100 * n for n in range(frames)))
    head = struct.pack("<HHIIIIIII16x", 3990, 0, 52, 24, len(table), 0, 20_000, 0, 0)
    form = struct.pack("<HHIIIHHI", level, 0, block, 1000, count, 16, channels, 44_100)
    return b"MAC " + head + form + table + bytes(20_000)


def ape_tags(count: int) -> bytes:
    items = b"".join(struct.pack("<II", 1, 0) + b"k%d\0v" % n for n in range(count))
    return items + b"APETAGEX" + struct.pack("<IIII8x", 2000, len(items) + 32, count, 0)


def wavpack(total: int, samples: int, body: bytes = bytes(100), size: int | None = None) -> bytes:
    stated = 24 + len(body) if size is None else size
    return b"wvpk" + struct.pack("<IHBBIIIII", stated, 0x410, 0, 0, total, 0, samples, 0x1801, 0) + body


def tta(samples: int = COUNT, rate: int = RATE, channels: int = 1, bits: int = 16) -> bytes:
    head = b"TTA1" + struct.pack("<HHHII", 1, channels, bits, rate, samples)
    return head + struct.pack("<I", zlib.crc32(head)) + bytes(20_000)


def musepack(frames: int, version: int = 7) -> bytes:
    return b"MP+" + bytes([version]) + struct.pack("<I", frames) + bytes(10_000)


def real_streams(count: int) -> bytes:
    body = struct.pack(">HHIIIIIIIB", 0, 1, *[HUGE] * 7, 0) + b"\0" + u32(HUGE)
    one = b"MDPR" + u32(8 + len(body)) + body
    return b".RMF" + struct.pack(">IHII", 18, 0, 0, 2) + one * count + b"DATA" + bytes(100)


def forms(seconds: float, repeats: int) -> bytes:
    """Another sample rate and another number of channels every few frames."""
    parts = [encode("aac", "adts", *form, seconds) for form in ((44_100, "stereo"), (8_000, "mono"), (96_000, "mono"))]
    return b"".join(parts) * repeats


OK, UNDECODABLE, TOO_LONG = "decoded", "undecodable", "too_long"
UNSUPPORTED = "unsupported, or undecodable where FFmpeg counts no channel"
EITHER = "decoded or undecodable"  # whether its tags are read depends on the processor

# What is made, and what is said of it.
IN_MP4: dict[str, tuple[Make, str]] = {
    "its first box alone": (lambda: FTYP, UNDECODABLE),
    "100,000 empty boxes": (lambda: FTYP + box(b"free") * 100_000, UNDECODABLE),
    "boxes in boxes": (lambda: mp4(nested(10_000)), UNDECODABLE),
    "a box to the end": (lambda: mp4() + u32(0) + b"moov" + bytes(8), UNDECODABLE),
    "a box smaller than its head": (lambda: FTYP + u32(5) + b"moov" + bytes(99), UNDECODABLE),
    "a large box smaller than its head": (lambda: FTYP + u32(1) + b"moov" + u64(4) + bytes(99), UNDECODABLE),
    "a box of 2^63 bytes": (lambda: FTYP + u32(1) + b"free" + u64(2**63) + moov(track()), UNDECODABLE),
    "no track": (lambda: mp4(moov()), UNDECODABLE),
    "10,000 tracks": (lambda: mp4(moov(track() * 10_000)), UNDECODABLE),
    "2^31 samples": (lambda: mp4(moov(track(claim(HUGE)))), UNDECODABLE),
    "60 million samples": (lambda: mp4(moov(track(claim(60_000_000)))), UNDECODABLE),
    "60 million frames of ALAC": (lambda: mp4(moov(track(claim(60_000_000, alac(4096, 1, RATE))))), UNDECODABLE),
    "640 million samples on 64 tracks": (lambda: mp4(moov(track(claim(10_000_000)) * 64)), UNDECODABLE),
    "2^31 sizes": (lambda: song(sizes=full(b"stsz", u32(0, HUGE))), UNDECODABLE),
    "2^31 times": (lambda: song(times=full(b"stts", u32(HUGE, 1, 1))), UNDECODABLE),
    "2^31 groups of chunks": (lambda: song(chunks=full(b"stsc", u32(HUGE, 1, 1, 1))), UNDECODABLE),
    "2^31 offsets": (lambda: song(offsets=full(b"stco", u32(HUGE, 36))), OK),
    "2^31 delays": (lambda: song(more=full(b"ctts", u32(HUGE, 1, 1))), UNDECODABLE),
    "2^29 key frames": (lambda: song(more=full(b"stss", u32(2**29, 1))), UNDECODABLE),
    "2^28 groups": (lambda: song(more=full(b"sbgp", b"rap ", u32(2**28, 1, 1))), UNDECODABLE),
    "offsets beyond the file": (lambda: song(offsets=full(b"co64", u32(1), u64(2**63 - 2))), UNDECODABLE),
    "100,000 chunks in one place": (lambda: song(**ENDLESS_CHUNKS), UNDECODABLE),
    "20,000 edits that repeat": (lambda: mp4(moov(track(REPEATED, edits=edits(20_000, 20_000, COUNT)))), OK),
    "2^30 edits": (lambda: mp4(moov(track(edits=edits(1, 2**30, COUNT)))), OK),
    "a duration of years": (lambda: mp4(moov(track(duration=2**32 - 1))), OK),
    "20,000 fragments of a sample": (lambda: fragmented(*[u32(1)] * 20_000), EITHER),
    "fragments of 2^24 samples": (lambda: fragmented(*[u32(2**24)] * 50), UNDECODABLE),
    "a fragment of 2^31 samples": (lambda: fragmented(u32(HUGE)), UNDECODABLE),
    "a compressed header of 100 MB": (lambda: compressed_header(10**8), UNDECODABLE),
    "30,000 tags": (lambda: own_tags(30_000), EITHER),
    "a cover of 4 MB": (lambda: cover(4 * 2**20), OK),
    "protected sound": (lambda: song(entry(b"drms")), UNDECODABLE),
    "an unknown codec": (lambda: song(entry(b"zzzz")), UNDECODABLE),
    "65,535 channels": (lambda: song(entry(channels=65_535)), UNSUPPORTED),
    "an absurd ALAC": (lambda: song(alac(2**32 - 1, 255, 2**32 - 1)), UNSUPPORTED),
    "ALAC of frames of 2^28 samples": (lambda: song(alac(2**28, 8, 384_000)), UNSUPPORTED),
    "an absurd AAC": (lambda: song(entry(b"mp4a", more=esds(b"\xff" * 60))), UNDECODABLE),
    "sound from a file of the machine": (lambda: url(b"file:///etc/passwd"), OK),
    "sound from the network": (lambda: url(b"http://169.254.169.254/latest/meta-data"), OK),
    "subtitles": (lambda: mp4(moov(track(tables(entry(b"tx3g")), b"text"))), UNDECODABLE),
    "a video": (lambda: mp4(moov(track(tables(entry(b"avc1", more=bytes(50))), b"vide"))), UNDECODABLE),
}
IN_MATROSKA: dict[str, tuple[Make, str]] = {
    "its first element alone": (lambda: EBML, UNDECODABLE),
    "no cluster": (lambda: matroska(), UNDECODABLE),
    "a filler of 2^55 bytes": (lambda: matroska(element("EC", size=size_of(2**55)), CLUSTERS), UNDECODABLE),
    "a million fillers": (lambda: matroska(b"\xec\x80" * 10**6, CLUSTERS), UNDECODABLE),
    "20,000 empty clusters": (lambda: matroska(cluster(0) * 20_000), UNDECODABLE),
    "segments in segments": (lambda: EBML + element("18538067", size=UNKNOWN) * 50_000, UNDECODABLE),
    "30 files in one": (lambda: of_track() * 30, OK),
    "10,000 tracks": (lambda: of_track(stream() * 10_000), UNDECODABLE),
    "lacing that is absurd": (lambda: matroska(cluster(0, block(b"\xff" * 999, 0x86))), UNDECODABLE),
    "blocks of two bytes": (lambda: matroska(cluster(0, block(b"\1\2") * 50_000)), OK),
    "laced blocks of two bytes": (lambda: matroska(cluster(0, block(b"\xff" + b"\1\2" * 256, 0x84) * 500)), OK),
    "60,000 tags": (lambda: matroska(simple_tags(60_000), CLUSTERS), OK),
    "60,000 tags at the end": (lambda: matroska(CLUSTERS, simple_tags(60_000)), OK),
    "tags in an element of no size": (
        lambda: matroska(element("1043A770", size=UNKNOWN), simple_tags(60_000), CLUSTERS),
        UNDECODABLE,
    ),
    "an index that descends": (lambda: matroska(index(60_000), CLUSTERS), OK),
    "an attachment that claims 4 GB": (
        lambda: matroska(element("1941A469", element("61A7", size=size_of(2**31)), size=size_of(2**32)), CLUSTERS),
        UNDECODABLE,
    ),
    "a codec's data of a gigabyte": (
        lambda: of_track(stream(b"A_AAC", more=element("63A2", size=size_of(2**30)))),
        UNDECODABLE,
    ),
    "a time that jumps by years": (lambda: matroska(CLUSTERS, cluster(2**60, block(PCM))), OK),
    "a time scale of 2^63": (lambda: matroska(CLUSTERS, scale=2**63), UNDECODABLE),
    "a duration of a year": (lambda: matroska(CLUSTERS, duration=3e10), TOO_LONG),
    "a duration that is no number": (lambda: matroska(CLUSTERS, duration=float("nan")), OK),
    "subtitles": (lambda: of_track(stream(b"S_TEXT/UTF8", 17)), UNDECODABLE),
    "a video": (lambda: of_track(stream(b"V_VP8", 1)), UNDECODABLE),
    "an unknown codec": (lambda: of_track(stream(b"A_ZZZ")), UNDECODABLE),
    "2^31 channels": (lambda: of_track(stream(channels=HUGE)), UNSUPPORTED),
    "9 channels": (lambda: of_track(stream(channels=9)), UNSUPPORTED),
    "0 Hz": (lambda: of_track(stream(rate=0)), UNDECODABLE),
    "blocks that deflate to 100 MB": (
        lambda: matroska(cluster(0, block(zlib.compress(bytes(10**8), 1))), tracks=(stream(more=packed(0)),)),
        UNDECODABLE,
    ),
    "blocks that grow by a megabyte": (
        lambda: matroska(cluster(0, block(b"xx") * 5_000), tracks=(stream(more=packed(3, bytes(2**19))),)),
        TOO_LONG,
    ),
}
OTHERS: dict[str, tuple[Make, str]] = {
    "Opus with 30,000 comments": (lambda: opus(30_000), UNDECODABLE),
    "Speex with 2^31 frames a packet": (
        lambda: speex(comments(0), bytes(38), head=SPEEX[:64] + struct.pack("<i", HUGE) + SPEEX[68:]),
        UNDECODABLE,
    ),
    "a packet of Ogg without end": (lambda: page(SPEEX, 0, 2) + page(bytes(255 * 255), 1, 1) * 60, UNDECODABLE),
    "200,000 empty pages": (lambda: page(SPEEX, 0, 2) + page(b"", 1) * 200_000, UNDECODABLE),
    "the names of pages": (lambda: page(SPEEX, 0, 2) + b"OggS" * 10**6, UNDECODABLE),
    "10,000 streams of Ogg": (lambda: page(SPEEX, 0, 2) * 10_000, UNDECODABLE),
    "FLAC with 60,000 comments": (lambda: flac((4, comments(60_000))), UNDECODABLE),
    "FLAC with 100,000 blocks": (lambda: flac(*[(1, b"")] * 100_000), UNDECODABLE),
    "FLAC with a picture that claims 2 GB": (lambda: flac((6, u32(3, 9) + b"image/png" + u32(HUGE))), UNDECODABLE),
    "AAC behind 60,000 tags": (lambda: id3(60_000) + encode("aac", "adts"), OK),
    "AAC behind 10,000 ID3 tags": (lambda: id3() * 10_000 + encode("aac", "adts"), UNDECODABLE),
    "AAC behind a cover of 4 MB": (lambda: id3(body=bytes(4 * 2**20)) + encode("aac", "adts"), OK),
    "AAC of another form each second": (lambda: forms(0.2, 200), OK),
    "AAC of empty frames": (lambda: b"\xff\xf1\x50\x80\0\xff\xfc" * 500_000, UNDECODABLE),
    "AAC of frames that never decode": (
        lambda: (b"\xff\xf1\x50\x80\x40\x1f\xfc" + b"\xff" * 505) * 8_000,
        UNDECODABLE,
    ),
    "mp3 behind 60,000 tags": (lambda: id3(60_000) + encode("mp3", "mp3"), OK),
    "mp3 of 1,000 streams": (lambda: encode("mp3", "mp3", 8_000, "mono", 0.2) * 1_000, OK),
    "wav with 60,000 private tags": (
        lambda: wav((b"ID3 ", even(id3(60_000, b"PRIV"))), (b"data", PCM)),
        OK,
    ),
    "wav with 60,000 private tags at the end": (
        lambda: wav((b"data", PCM[:63_996]), (b"ID3 ", even(id3(60_000, b"PRIV")))),
        OK,
    ),
    "wav with 200,000 chunks": (lambda: wav(*[(b"junk", b"")] * 200_000, (b"data", PCM)), EITHER),
    "AIFF with 60,000 tags": (lambda: aiff((b"ID3 ", even(id3(60_000)))), OK),
    "Windows Media with 60,000 tags": (lambda: asf(content_tags(60_000), 1), OK),
    "Windows Media with an object of 2^63 bytes": (
        lambda: asf(asf_object(LONG_CONTENT, b"\1\0", 2**63), 1),
        UNDECODABLE,
    ),
    "Windows Media with an object of 0 bytes": (lambda: asf(asf_object(UNKNOWN_OBJECT, b"", 0), 1), UNDECODABLE),
    "Windows Media with 50,000 empty objects": (lambda: asf(asf_object(UNKNOWN_OBJECT, b"") * 50_000, 1), OK),
    "WavPack with 2^32 samples": (lambda: wavpack(2**32 - 2, 2**32 - 1), TOO_LONG),
    "WavPack with a block of a gigabyte": (lambda: wavpack(HUGE, 2**30, size=2**30), UNDECODABLE),
    "WavPack with 30,000 empty blocks": (lambda: wavpack(100, 0, b"") * 30_000, UNDECODABLE),
    "APE with 2^25 frames": (lambda: ape(10, 2**25), UNDECODABLE),
    "APE with frames of 2^32 samples": (lambda: ape(10, block=2**32 - 1), TOO_LONG),
    "APE with a million frames": (lambda: ape(10**6), TOO_LONG),
    "CAF with a chunk of 2^62 bytes": (lambda: caf((b"free", b"", 2**62)), UNDECODABLE),
    "CAF with a chunk that leads back": (lambda: caf((b"free", b"", -12)), UNDECODABLE),
    "CAF with 100,000 chunks": (lambda: caf(*[(b"free", b"", None)] * 100_000), OK),
    "CAF with 60,000 tags": (
        lambda: caf((b"info", u32(60_000) + b"".join(b"k%d\0v\0" % n for n in range(60_000)), None)),
        EITHER,
    ),
    "CAF with 2^40 packets": (
        lambda: caf((b"pakt", struct.pack(">qqii", 2**40, 2**50, 0, 0), None), codec=b"alac"),
        UNDECODABLE,
    ),
    "CAF with 2 million packets": (
        lambda: caf((b"pakt", struct.pack(">qqii", 2 * 10**6, 2**40, 0, 0) + b"\1" * 2 * 10**6, None), codec=b"aac "),
        UNDECODABLE,
    ),
    "CAF with a codec's data of a gigabyte": (lambda: caf((b"kuki", b"x", 2**30), codec=b"aac "), UNDECODABLE),
    "CAF at 1e308 Hz": (lambda: caf(rate=1e308), UNSUPPORTED),
    "CAF of 2^31 channels": (lambda: caf(channels=HUGE), UNSUPPORTED),
    "TTA with 2^32 samples": (lambda: tta(2**32 - 1), UNDECODABLE),
    "TTA of 65,535 channels": (lambda: tta(channels=65_535), UNDECODABLE),
    "TTA at 8 MHz": (lambda: tta(rate=8_000_000), UNDECODABLE),
    "TTA with 60,000 APE tags": (lambda: encode("tta", "tta") + ape_tags(60_000), EITHER),
    "Musepack with 2^32 frames": (lambda: musepack(2**32 - 1), UNDECODABLE),
    "Musepack with 2^24 frames": (lambda: musepack(2**24), UNDECODABLE),
    "Musepack of another version": (lambda: musepack(100, 5), UNDECODABLE),
    "Musepack 8 with a chunk of gigabytes": (lambda: b"MPCKSH\xff\xff\xff\xff\x7f" + bytes(99), UNDECODABLE),
    "Musepack 8 with 300,000 chunks": (lambda: b"MPCK" + b"XX\3" * 300_000, UNDECODABLE),
    "AMR without data": (lambda: b"#!AMR\n" + b"\x7c" * 300_000, UNDECODABLE),
    "AMR of many channels": (lambda: b"#!AMR_MC1.0\n\0\0\0\xff" + b"\x3c" * 9_999, UNDECODABLE),
    "the beginnings of frames of AC-3": (lambda: b"\x0b\x77" * 10**6, UNDECODABLE),
    "AC-3 of another form each moment": (
        lambda: (encode("ac3", "ac3", 48_000, "mono", 0.1) + encode("ac3", "ac3", 32_000, "5.1", 0.1)) * 50,
        OK,
    ),
    "RealAudio of version 5": (lambda: b".ra\xfd\0\5\0\0.ra5" + b"\x7f" * 999, UNDECODABLE),
    "RealAudio with 10,000 streams": (lambda: real_streams(10_000), UNDECODABLE),
}
FILES = {
    f"{kind}: {name}": file
    for kind, files in (("MP4", IN_MP4), ("Matroska", IN_MATROSKA), ("another", OTHERS))
    for name, file in files.items()
}
# Of up to 45 MB, which an upload may have.
LARGE: dict[str, tuple[Make, str]] = {
    "MP4: five million empty boxes": (lambda: FTYP + box(b"free") * 5_000_000, UNDECODABLE),
    "MP4: a cover of 40 MB": (lambda: cover(40 * 10**6), UNDECODABLE),
    "MP4: a million chunks in one place": (
        lambda: song(**ENDLESS_CHUNKS | {"offsets": full(b"stco", u32(10**6), u32(36) * 10**6)}),
        UNDECODABLE,
    ),
    "MP4: an index of 10 million samples": (
        lambda: song(AAC, sizes=full(b"stsz", u32(0, 10**7), u32(1) * 10**7)),
        UNDECODABLE,
    ),
    "Matroska: 20 million fillers": (lambda: matroska(b"\xec\x80" * 20_000_000, CLUSTERS), UNDECODABLE),
    "Matroska: a million tags": (lambda: matroska(simple_tags(10**6), CLUSTERS), OK),
    "Matroska: 5 million blocks of two bytes": (
        lambda: matroska(cluster(0, b"\xa3\x86\x81\0\0\x80\1\2" * 5_000_000)),
        OK,
    ),
    "Matroska: 5 million blocks that never decode": (
        lambda: matroska(cluster(0, b"\xa3\x86\x81\0\0\x80\xff\xff" * 5_000_000), tracks=(stream(b"A_FLAC"),)),
        UNDECODABLE,
    ),
    "another: AAC of 5 million empty frames": (lambda: b"\xff\xf1\x50\x80\0\xff\xfc" * 5_000_000, UNDECODABLE),
    "another: AAC of 80,000 frames that never decode": (
        lambda: (b"\xff\xf1\x50\x80\x40\x1f\xfc" + b"\xff" * 505) * 80_000,
        UNDECODABLE,
    ),
    "another: APE with 10 million frames": (lambda: ape(10**7), UNDECODABLE),
    "another: the names of 10 million pages": (lambda: page(SPEEX, 0, 2) + b"OggS" * 10**7, UNDECODABLE),
    "another: wav with 5 million chunks": (lambda: wav(*[(b"junk", b"")] * 5_000_000, (b"data", PCM)), UNDECODABLE),
}
