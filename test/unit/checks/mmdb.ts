/** Writes small MMDB files (MaxMind DB format 2.0) of IPv4 networks for tests. */

type Value = string | number | { [key: string]: Value };

/** Types up to 7, sizes up to 284. */
function control(type: number, size: number): Buffer {
  return size < 29 ? Buffer.from([(type << 5) | size]) : Buffer.from([(type << 5) | 29, size - 29]);
}

function encode(value: Value): Buffer {
  if (typeof value === "string") return Buffer.concat([control(2, Buffer.byteLength(value)), Buffer.from(value)]);
  if (typeof value === "number") {
    const octets = Buffer.alloc(4);
    octets.writeUInt32BE(value);
    return Buffer.concat([control(6, 4), octets]);
  }
  const entries = Object.entries(value).flatMap(([key, inner]) => [encode(key), encode(inner)]);
  return Buffer.concat([control(7, Object.keys(value).length), ...entries]);
}

/** `networks`: "192.0.2.0/24" → its row. */
export function mmdb(networks: Readonly<Record<string, Value>>): Buffer {
  type Node = [Node | Buffer | undefined, Node | Buffer | undefined];
  const root: Node = [undefined, undefined];
  for (const [network, row] of Object.entries(networks)) {
    const [address, length] = network.split("/") as [string, string];
    const bits = address.split(".").flatMap((octet) => [...Number(octet).toString(2).padStart(8, "0")].map(Number));
    let node = root;
    for (const bit of bits.slice(0, Number(length) - 1)) node = (node[bit as 0 | 1] ??= [undefined, undefined]) as Node;
    node[bits[Number(length) - 1] as 0 | 1] = encode(row);
  }
  const nodes: Node[] = [root];
  for (const node of nodes) nodes.push(...node.filter((side): side is Node => Array.isArray(side)));
  const data: Buffer[] = [];
  let octets = 0;
  const record = (side: Node[number]): number => {
    if (side === undefined) return nodes.length;
    if (Array.isArray(side)) return nodes.indexOf(side);
    data.push(side);
    octets += side.length;
    return nodes.length + 16 + octets - side.length;
  };
  const tree = Buffer.concat(
    nodes.map((node) => {
      const pair = Buffer.alloc(6);
      for (const [index, side] of node.entries()) pair.writeUIntBE(record(side), index * 3, 3);
      return pair;
    }),
  );
  const metadata = {
    binary_format_major_version: 2,
    binary_format_minor_version: 0,
    build_epoch: 1_790_000_000,
    database_type: "test",
    ip_version: 4,
    node_count: nodes.length,
    record_size: 24,
  };
  return Buffer.concat([
    tree,
    Buffer.alloc(16),
    ...data,
    Buffer.from("\xab\xcd\xefMaxMind.com", "latin1"),
    encode(metadata),
  ]);
}
