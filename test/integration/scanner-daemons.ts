/**
 * The real scanners and filters that tests ask: each started on free loopback ports with settings of its own, ended with
 * the test. Each starter answers undefined after it skipped the test for want of the program.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { budgetWith } from "../../src/config/budget.ts";
import { SpamassassinScanner } from "../../src/scanners/spamassassin.ts";
import { freePort, peer, type Scope, scratch, start } from "./daemons.ts";

// The standard harmless test patterns, in pieces so that no scanner takes this file for an infected one.
export const eicar = ["X5O!P%@AP[4\\PZX54(P^)7CC)7}", "$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"].join("");
export const gtube = ["XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE", "-TEST-EMAIL*C.34X"].join("");

const fields =
  "From: a@x.example\r\nTo: b@out.test\r\nSubject: test\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <1@x.example>\r\n";

/** The same letter three times: harmless, with the spam pattern, with the test virus in a zip archive. */
export const letters = {
  clean: `${fields}\r\nhello\r\n`,
  spam: `${fields}\r\n${gtube}\r\n`,
  get infected(): string {
    return `${fields}MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nsee attachment\r\n--b\r\nContent-Type: application/zip; name=x.zip\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=x.zip\r\n\r\n${infectedZip()}\r\n--b--\r\n`;
  },
};

/** The test virus, compressed, in a zip archive; base64 in lines. */
export function infectedZip(): string {
  const script =
    "import io,sys,zipfile\nb=io.BytesIO()\nz=zipfile.ZipFile(b,'w',zipfile.ZIP_DEFLATED)\nz.writestr('x.com',sys.argv[1])\nz.close()\nsys.stdout.buffer.write(b.getvalue())";
  return execFileSync("/usr/bin/python3", ["-c", script, eicar]).toString("base64").replace(/.{76}/g, "$&\r\n");
}

/** A script that runs these milters, in order, when the message is there. */
export const runningFilters = (
  filters: ReadonlyArray<readonly [name: string, address: string]>,
) => `event onDataReceived {
  ${filters.map(([name, at]) => `set (filterName, "${name}"); set (filterAddress, "${at}"); set (filterTimeout, "20"); call (addMilterFilter);`).join("\n  ")}
  call (executeFilters);
}`;

/** A folder that daemons may read after they gave up root. */
function open(t: Scope): string {
  const folder = scratch(t);
  chmodSync(folder, 0o755);
  return folder;
}

/** clamd with a signature of its own. `port`: to start it again where it was. */
export async function startClamd(
  t: Scope,
  port?: number,
): Promise<{ port: number; socket: string; pid: number } | undefined> {
  const clamd = peer(t, "clamd");
  if (clamd === undefined) return undefined;
  const folder = open(t);
  const at = port ?? (await freePort());
  const socket = join(folder, "clamd.sock");
  mkdirSync(join(folder, "db"));
  writeFileSync(join(folder, "db", "eicar.ndb"), `Test.EICAR-Body:0:*:${Buffer.from(eicar).toString("hex")}\n`);
  const settings = [
    `DatabaseDirectory ${join(folder, "db")}`,
    `TCPSocket ${at}`,
    "TCPAddr 127.0.0.1",
    `LocalSocket ${socket}`,
    "Foreground yes",
    "StreamMaxLength 1M",
    "SelfCheck 0",
  ];
  writeFileSync(join(folder, "clamd.conf"), `${settings.join("\n")}\n`);
  const child = await start(t, clamd, ["-c", join(folder, "clamd.conf")], at);
  return { port: at, socket, pid: child.pid! };
}

/** clamav-milter before a clamd. */
export async function startClamavMilter(t: Scope, clamdPort: number): Promise<number | undefined> {
  const milter = peer(t, "clamav-milter");
  if (milter === undefined) return undefined;
  const folder = scratch(t);
  const port = await freePort();
  const settings = [
    `MilterSocket inet:${port}@127.0.0.1`,
    `ClamdSocket tcp:127.0.0.1:${clamdPort}`,
    "Foreground yes",
    "OnInfected Reject",
    "RejectMsg Virus found: %v",
    "AddHeader Replace",
  ];
  writeFileSync(join(folder, "milter.conf"), `${settings.join("\n")}\n`);
  await start(t, milter, ["-c", join(folder, "milter.conf")], port);
  return port;
}

/** spamd that answers: it listens before its children are ready. */
export async function startSpamd(t: Scope): Promise<number | undefined> {
  const spamd = peer(t, "spamd");
  if (spamd === undefined) return undefined;
  const folder = open(t);
  const port = await freePort();
  // The plug-in lists (*.pre) must be in the site folder too.
  cpSync("/etc/spamassassin", folder, { recursive: true });
  const settings = "dns_available no\nuse_bayes 0\nuse_razor2 0\nuse_pyzor 0\nrequired_score 5.0\nreport_safe 0\n";
  writeFileSync(join(folder, "local.cf"), settings);
  const options = `-L -x -i 127.0.0.1:${port} -A 127.0.0.1 -m 2 --min-children=1 -s stderr --siteconfigpath=${folder} -u nobody --allow-tell`;
  await start(t, spamd, options.split(" "), port, { waitMs: 40_000 });
  const address = { host: "127.0.0.1", port };
  const scanner = new SpamassassinScanner({ name: "spamd", address, timeoutMs: 30_000, budget: budgetWith() });
  for (let tries = 0; ; tries++) {
    try {
      await scanner.ping();
      await scanner.close();
      return port;
    } catch (error) {
      if (tries > 60) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

export async function startSpamassMilter(t: Scope, spamdPort: number): Promise<number | undefined> {
  const milter = peer(t, "spamass-milter");
  if (milter === undefined) return undefined;
  const port = await freePort();
  const options = `-p inet:${port}@127.0.0.1 -r 15 -P ${join(scratch(t), "pid")} -- -d 127.0.0.1 -p ${spamdPort}`;
  await start(t, milter, options.split(" "), port);
  return port;
}

/** rspamd with its HTTP port and its milter port, which asks for no replies. */
export async function startRspamd(t: Scope): Promise<{ http: number; milter: number } | undefined> {
  const rspamd = peer(t, "rspamd");
  if (rspamd === undefined) return undefined;
  const folder = open(t);
  const [http, milter] = [await freePort(), await freePort()];
  const local = join(folder, "etc");
  for (const name of ["etc", "etc/override.d", "db", "run", "log"]) mkdirSync(join(folder, name));
  for (const name of ["db", "run", "log"]) execFileSync("/bin/chown", ["_rspamd", join(folder, name)]);
  const write = (name: string, text: string) => writeFileSync(join(local, "override.d", name), text);
  write("worker-normal.inc", `bind_socket = "127.0.0.1:${http}"; count = 1;\n`);
  write("worker-controller.inc", "enabled = false;\n");
  write("worker-fuzzy.inc", "enabled = false;\n");
  write(
    "worker-proxy.inc",
    `bind_socket = "127.0.0.1:${milter}"; milter = yes; count = 1; upstream "local" { default = yes; self_scan = yes; }\n`,
  );
  write("milter_headers.conf", 'skip_local = false; use = ["x-spamd-bar", "x-spam-level", "x-spam-status"];\n');
  // The full list of top level domains takes half a minute to compile.
  writeFileSync(join(folder, "tld"), "com\norg\nexample\n");
  write(
    "options.inc",
    `url_tld = "${join(folder, "tld")}"; dns { nameserver = "127.0.0.1:1"; timeout = 0.1s; retransmits = 1; }\n`,
  );
  write("logging.inc", `type = "file"; filename = "${join(folder, "log", "rspamd.log")}";\n`);
  const variables = [
    `--var=LOCAL_CONFDIR=${local}`,
    `--var=DBDIR=${join(folder, "db")}`,
    `--var=RUNDIR=${join(folder, "run")}`,
    `--var=LOGDIR=${join(folder, "log")}`,
  ];
  await start(t, rspamd, ["-f", "-u", "_rspamd", "-g", "_rspamd", ...variables], http, { waitMs: 30_000 });
  return { http, milter };
}

/** opendkim that signs for x.example, selector s, from 127.0.0.1 and verifies for others. */
export async function startOpendkim(t: Scope): Promise<{ port: number; key: string } | undefined> {
  const opendkim = peer(t, "opendkim");
  if (opendkim === undefined) return undefined;
  const folder = scratch(t);
  const port = await freePort();
  const key = join(folder, "key.pem");
  execFileSync("openssl", ["genrsa", "-out", key, "2048"], { stdio: "pipe" });
  const spki = execFileSync("openssl", ["rsa", "-in", key, "-pubout", "-outform", "DER"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  writeFileSync(join(folder, "keys"), `s._domainkey.x.example v=DKIM1; k=rsa; p=${spki.toString("base64")}\n`);
  const settings = [
    "Mode sv",
    "Domain x.example",
    "Selector s",
    `KeyFile ${key}`,
    `Socket inet:${port}@127.0.0.1`,
    "RequireSafeKeys no",
    "InternalHosts 127.0.0.1",
    `TestPublicKeys ${join(folder, "keys")}`,
    "AlwaysAddARHeader yes",
    "AuthservID gw.test",
    "Background no",
    "Syslog no",
  ];
  writeFileSync(join(folder, "opendkim.conf"), `${settings.join("\n")}\n`);
  await start(t, opendkim, ["-f", "-x", join(folder, "opendkim.conf")], port);
  return { port, key };
}

/** postgrey with a delay of one second. */
export async function startPostgrey(t: Scope): Promise<number | undefined> {
  const postgrey = peer(t, "postgrey");
  if (postgrey === undefined) return undefined;
  const folder = open(t);
  mkdirSync(join(folder, "db"));
  execFileSync("/bin/chown", ["postgrey:postgrey", join(folder, "db")]);
  const port = await freePort();
  const options = `--inet=127.0.0.1:${port} --dbdir=${join(folder, "db")} --delay=1 --user=postgrey --group=postgrey`;
  await start(t, postgrey, [...options.split(" "), "--greylist-text=Greylisted, see %s"], port);
  return port;
}
