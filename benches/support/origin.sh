# The origin of benches/compare and benches/profile: an nginx that serves a page, a picture, a download, a text worth
# compressing, a page that nobody may store, and as many small pages as are asked for. Sourced by them.

# make_origin DIR: the pages, and the configuration of an nginx on 127.0.0.1:9100 as DIR/origin.conf.
make_origin() {
  local work=$1 user=
  mkdir -p "$work/www" "$work/nginx"
  python3 - "$work/www" <<'PYTHON'
import random, sys
random.seed(1)
words = [''.join(random.choices('abcdefghijklmnopqrstuvwxyz', k=random.randint(2, 9))) for _ in range(800)]
www = sys.argv[1]
open(f'{www}/1k.html', 'w').write('x' * 1024)
open(f'{www}/pass.html', 'w').write('x' * 1024)
open(f'{www}/64k.bin', 'wb').write(random.randbytes(64 * 1024))
open(f'{www}/1m.bin', 'wb').write(random.randbytes(1024 * 1024))
text = ''
while len(text) < 64 * 1024: text += random.choice(words) + ' '
open(f'{www}/text.html', 'w').write(text[:64 * 1024])
PYTHON
  chmod -R a+rX "$work"
  [ "$(id -u)" != 0 ] || user='user root;'
  cat >"$work/origin.conf" <<CONF
$user worker_processes 1; daemon off; pid $work/origin.pid; error_log $work/origin.log;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 1000000000; client_body_temp_path $work/nginx; proxy_temp_path $work/nginx;
  fastcgi_temp_path $work/nginx; uwsgi_temp_path $work/nginx; scgi_temp_path $work/nginx;
  types { text/html html; application/octet-stream bin; }
  server { listen 127.0.0.1:9100; root $work/www;
    location / { add_header Cache-Control "public, max-age=86400"; }
    location /many/ { add_header Cache-Control "public, max-age=86400"; return 200 "one of many"; }
    location /pass.html { add_header Cache-Control "no-store"; } }
}
CONF
}
