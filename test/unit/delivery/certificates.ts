/** A throw-away CA and host certificates for TLS tests, made with openssl; undefined where that is missing. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Certificate {
  cert: string;
  key: string;
}

export interface TestPki {
  ca: string;
  /** Certificate for these names, signed by the CA, with the CA in the chain. */
  issue(...names: string[]): Certificate;
}

export function makePki(): TestPki | undefined {
  const dir = mkdtempSync(join(tmpdir(), "postern-pki-"));
  process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: dir, stdio: "pipe" });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  try {
    openssl("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test CA", "-days", "2");
  } catch {
    return undefined; // no openssl: the tests that need it are skipped
  }
  const ca = readFileSync(join(dir, "ca.pem"), "utf8");
  let serial = 0;
  return {
    ca,
    issue(...names) {
      const base = `host${++serial}`;
      writeFileSync(join(dir, `${base}.ext`), `subjectAltName=${names.map((name) => `DNS:${name}`).join(",")}\n`);
      openssl("req", ...key, "-keyout", `${base}.key`, "-out", `${base}.csr`, "-subj", `/CN=${names[0]}`);
      const signer = ["-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", String(serial + 1), "-days", "2"];
      openssl("x509", "-req", "-in", `${base}.csr`, ...signer, "-extfile", `${base}.ext`, "-out", `${base}.pem`);
      const cert = readFileSync(join(dir, `${base}.pem`), "utf8") + ca;
      return { cert, key: readFileSync(join(dir, `${base}.key`), "utf8") };
    },
  };
}
