"""Chunk and trailer signing of awscrt.

The Python package does not offer them, but its library holds aws-c-auth whole, with a symbol table: the functions are
called by their addresses. aws-c-auth takes what it signs as a "signable", a table of callbacks; here it is one of ours
that answers with a chunk or with trailing headers. Source: aws/auth/signable.h, signing.h, signing_config.h.
"""

import ctypes as c
import struct
from datetime import datetime, timezone

import _awscrt

CHUNK, TRAILING_HEADERS = 2, 6  # enum aws_signature_type
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class Cursor(c.Structure):
    """struct aws_byte_cursor: somebody else's bytes."""

    _fields_ = [("length", c.c_size_t), ("pointer", c.c_char_p)]

    @classmethod
    def of(cls, data):
        return cls(len(data), data)


class AwsString(c.Structure):
    _fields_ = [("allocator", c.c_void_p), ("length", c.c_size_t)]

    @staticmethod
    def read(address):
        return c.string_at(address + c.sizeof(AwsString), AwsString.from_address(address).length)


class ArrayList(c.Structure):
    _fields_ = [("allocator", c.c_void_p), ("current_size", c.c_size_t), ("length", c.c_size_t),
                ("item_size", c.c_size_t), ("data", c.c_void_p)]


class Pair(c.Structure):
    """struct aws_signable_property_list_pair"""

    _fields_ = [("name", Cursor), ("value", Cursor)]


class DateTime(c.Structure):
    # time_t, uint16_t, char[6], two struct tm, bool
    _fields_ = [("timestamp", c.c_int64), ("rest", c.c_char * (8 + 2 * 56 + 8))]


class Config(c.Structure):
    """struct aws_signing_config_aws"""

    _fields_ = [("config_type", c.c_int), ("algorithm", c.c_int), ("signature_type", c.c_int), ("region", Cursor),
                ("service", Cursor), ("date", DateTime), ("should_sign", c.c_void_p), ("should_sign_data", c.c_void_p),
                ("flags", c.c_uint32), ("signed_body_value", Cursor), ("signed_body_header", c.c_int),
                ("credentials", c.c_void_p), ("provider", c.c_void_p), ("expiration", c.c_uint64)]


GET_PROPERTY = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.POINTER(Cursor))
GET_LIST = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.POINTER(c.c_void_p))
GET_STREAM = c.CFUNCTYPE(c.c_int, c.c_void_p, c.POINTER(c.c_void_p))
DESTROY = c.CFUNCTYPE(None, c.c_void_p)
ON_COMPLETE = c.CFUNCTYPE(None, c.c_void_p, c.c_int, c.c_void_p)


class Vtable(c.Structure):
    _fields_ = [("get_property", GET_PROPERTY), ("get_property_list", GET_LIST), ("get_payload_stream", GET_STREAM),
                ("destroy", DESTROY)]


class Signable(c.Structure):
    _fields_ = [("allocator", c.c_void_p), ("impl", c.c_void_p), ("vtable", c.POINTER(Vtable))]


def symbols(path):
    """The symbol table of a 64-bit ELF file: name -> address."""
    with open(path, "rb") as file:
        data = file.read()
    (sections,), (size, count) = struct.unpack_from("<Q", data, 0x28), struct.unpack_from("<HH", data, 0x3A)
    table = {}
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, sections + n * size) for n in range(count)]
    for kind, offset, length, link in ((h[1], h[4], h[5], h[6]) for h in headers):
        if kind != 2:  # SHT_SYMTAB
            continue
        strings = headers[link][4]
        for name, _info, _other, section, value, _size in struct.iter_unpack("<IBBHQQ", data[offset:offset + length]):
            if name and section:
                end = data.index(b"\0", strings + name)
                table[data[strings + name:end].decode()] = value
    return table


class Library:
    def __init__(self):
        path = _awscrt.__file__
        self._symbols = symbols(path)
        known = c.cast(c.CDLL(path).aws_py_checksums_crc32, c.c_void_p).value
        self._base = known - self._symbols["aws_py_checksums_crc32"]
        cursor_p = c.POINTER(Cursor)
        self.allocator = self._function("aws_default_allocator", c.c_void_p)()
        self.credentials_new = self._function("aws_credentials_new", c.c_void_p, c.c_void_p, Cursor, Cursor, Cursor,
                                              c.c_uint64)
        self.credentials_release = self._function("aws_credentials_release", None, c.c_void_p)
        self.date = self._function("aws_date_time_init_epoch_secs", None, c.POINTER(DateTime), c.c_double)
        self.stream_new = self._function("aws_input_stream_new_from_cursor", c.c_void_p, c.c_void_p, cursor_p)
        self.stream_release = self._function("aws_input_stream_release", c.c_void_p, c.c_void_p)
        self.sign = self._function("aws_sign_request_aws", c.c_int, c.c_void_p, c.POINTER(Signable),
                                   c.POINTER(Config), ON_COMPLETE, c.c_void_p)
        self.result = self._function("aws_signing_result_get_property", c.c_int, c.c_void_p, c.c_void_p,
                                     c.POINTER(c.c_void_p))
        self.previous_name = self._string("g_aws_previous_signature_property_name")
        self.signature_name = self._string("g_aws_signature_property_name")
        self.headers_name = self._string("g_aws_http_headers_property_list_name")

    def _address(self, name):
        if name not in self._symbols:
            raise SystemExit(f"oracle: {_awscrt.__file__} has no {name}: the pinned awscrt of scripts/requirements.txt has")
        return self._base + self._symbols[name]

    def _function(self, name, result, *arguments):
        return c.CFUNCTYPE(result, *arguments)(self._address(name))

    def _string(self, name):
        return c.c_void_p.from_address(self._address(name)).value


_library = None


class ChunkSigner:
    """Signs chunks and trailing headers of one request, from its seed signature on."""

    def __init__(self, access_key, secret_key, token, region, date: datetime, seed):
        global _library
        _library = _library or Library()
        self._keys = [text.encode() for text in (access_key, secret_key, token or "")]
        self._region, self._previous = region.encode(), seed.encode()
        self._seconds = date.replace(tzinfo=timezone.utc).timestamp()

    def chunk(self, data):
        library, view = _library, Cursor.of(data)
        stream = library.stream_new(library.allocator, c.byref(view))
        try:
            return self._sign(CHUNK, stream=stream)
        finally:
            library.stream_release(stream)

    def trailer(self, headers):
        pairs = (Pair * len(headers))(*(Pair(Cursor.of(n.encode()), Cursor.of(v.encode())) for n, v in headers))
        size = c.sizeof(Pair)
        # Room for none more: aws-c-auth only reads.
        return self._sign(TRAILING_HEADERS,
                          headers=ArrayList(None, size * len(headers), len(headers), size, c.addressof(pairs)))

    def _sign(self, kind, stream=None, headers=None):
        library, done = _library, {}
        previous, name = self._previous, library.previous_name

        @GET_PROPERTY
        def get_property(_signable, wanted, out):
            out[0] = Cursor.of(previous) if wanted == name else Cursor(0, None)
            return 0 if wanted == name else -1

        @GET_LIST
        def get_list(_signable, wanted, out):
            out[0] = c.addressof(headers) if headers is not None and wanted == library.headers_name else None
            return 0 if out[0] else -1

        @GET_STREAM
        def get_stream(_signable, out):
            out[0] = stream
            return 0

        @ON_COMPLETE
        def on_complete(result, error, _data):
            done["error"] = error
            text = c.c_void_p()
            if not error and library.result(result, library.signature_name, c.byref(text)) == 0:
                done["signature"] = AwsString.read(text.value)

        vtable = Vtable(get_property, get_list, get_stream, DESTROY())
        signable = Signable(library.allocator, None, c.pointer(vtable))
        credentials = library.credentials_new(library.allocator, *map(Cursor.of, self._keys), 2**64 - 1)
        config = Config(config_type=1, algorithm=0, signature_type=kind, region=Cursor.of(self._region),
                        service=Cursor.of(b"s3"), credentials=credentials)
        library.date(c.byref(config.date), self._seconds)
        try:
            if library.sign(library.allocator, c.byref(signable), c.byref(config), on_complete, None) != 0:
                raise RuntimeError("aws_sign_request_aws failed")
        finally:
            library.credentials_release(credentials)
        if "signature" not in done:
            raise RuntimeError(f"awscrt gave no signature: {done}")
        self._previous = done["signature"]
        return self._previous.decode()
