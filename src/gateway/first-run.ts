/**
 * The configuration that `npm start` writes when there is none: loopback, high ports, one local domain, one account
 * with a random password, TLS with a self-signed certificate when openssl is at hand.
 * Failure: an unwritable folder rejects with the file system's error; an existing file is never overwritten.
 */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { promisify } from "node:util";
import { hashPassword } from "../directory/password.ts";

const shippedRules = resolve(import.meta.dirname, "../../rules/default.script");

export interface FirstRun {
  user: string;
  password: string;
  tls: boolean;
}

export async function writeFirstConfig(configFile: string): Promise<FirstRun> {
  const folder = dirname(configFile);
  const tlsFolder = join(folder, "var", "tls");
  const tls = await selfSigned(tlsFolder);
  const user = "user@example.org";
  const password = randomBytes(9).toString("base64url");
  const rules = relative(folder, shippedRules);
  const tlsLine = tls
    ? "    tls: { cert: ./var/tls/cert.pem, key: ./var/tls/key.pem, mode: starttls }   # self-signed, for trying only"
    : "    # tls: { cert: ./cert.pem, key: ./key.pem, mode: starttls }                 # AUTH is offered over TLS only";
  writeFileSync(
    configFile,
    `# Postern's configuration. \`npx postern check postern.yaml\` tells of mistakes; \`npx postern reload\` swaps it in.
# Every key: docs/reference/config.md

server:
  name: mx.example.org            # the name this host gives itself in SMTP

data: ./var                       # queue, store and state live here

listeners:
  - address: "127.0.0.1:2525"     # loopback only; for the world: "*:25"
${tlsLine}

policy:
  smtpFilters: ${rules.startsWith(".") ? rules : `./${rules}`}   # what may pass; edit, then \`npx postern reload\`
  sieve: []                       # e.g. [ { level: server, file: rules/server.sieve } ]

domains:
  local: [example.org]            # delivered to the store; everything else is relayed
  routes: {}                      # e.g. { partner.example: "[192.0.2.7]:25" }

accounts:                         # may log in and receive; \`npx postern hash\` makes the password form
  - { address: ${user}, password: "${await hashPassword(password)}" }

relay:
  smartHost: null                 # e.g. "smtp.provider.example:587"; null = straight to the recipient's MX
  trustedNetworks: []             # hosts that may relay without AUTH, e.g. ["10.0.0.0/8"]

dns:
  servers: []                     # e.g. ["127.0.0.1:53"]; empty = those of /etc/resolv.conf

managesieve: null                 # accounts' own Sieve: { address: "127.0.0.1:4190", tls: { cert: mx.crt, key: mx.key } }

admin:
  address: "127.0.0.1:9000"       # /health and /metrics

workers: 2
`,
    { flag: "wx", mode: 0o640 },
  );
  return { user, password, tls };
}

/** Makes a self-signed P-256 certificate with the system's openssl; false when there is none. */
async function selfSigned(folder: string): Promise<boolean> {
  mkdirSync(folder, { recursive: true, mode: 0o750 });
  const args = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=mx.example.org";
  try {
    await promisify(execFile)("openssl", [
      ...args.split(" "),
      ...["-addext", "subjectAltName=DNS:mx.example.org,DNS:localhost,IP:127.0.0.1"],
      ...["-keyout", join(folder, "key.pem"), "-out", join(folder, "cert.pem")],
    ]);
    return true;
  } catch (error) {
    // No openssl, or one too old for -addext: the gateway then starts without TLS and the file says how to add it.
    if ((error as NodeJS.ErrnoException).code === "EACCES") throw error;
    return false;
  }
}
