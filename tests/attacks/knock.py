"""Knocks at a bus that speaks TLS, as any client would: knock.py HOST PORT VERSION WORDS.

Prints the version of TLS and what the server says after these words, or why there was no handshake."""

import socket
import ssl
import sys

host, port, version, words = sys.argv[1:]
plain = socket.create_connection((host, int(port)), 5)
print(plain.recv(4096).split(b" ")[0].decode())
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.set_ciphers("ALL:@SECLEVEL=0")
context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
try:
    secure = context.wrap_socket(plain)
    print(secure.version())
    secure.sendall(words.encode().decode("unicode_escape").encode())
    secure.settimeout(5)
    while said := secure.recv(4096):
        print(said.decode(errors="replace").strip())
except OSError as error:
    print("refused:", error)
