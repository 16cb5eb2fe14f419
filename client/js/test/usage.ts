// What an application of Node writes: the types must hold for it. Nothing of this is run.
import { Client, NeuroQuantumError } from 'neuroquantum-ws';
import type { Change, Gap, Message, Position, Query, Subscription, Watch } from 'neuroquantum-ws';

interface Order extends Record<string, unknown> {
  id: number;
  total: number;
}

export async function use(signal: AbortSignal): Promise<void> {
  const client = new Client('wss://example.com/ws', {
    token: async () => 'token',
    backoff: { max: 5000 },
    heartbeat: { timeout: 5000 },
  });
  const off = client.on('state', (state, { delay, error }) => console.log(state === 'waiting' ? delay : error?.closeCode));
  client.on('gap', (gap: Gap, subscription?: Subscription) => console.log(gap.reason, subscription?.position));
  await client.connect();

  const chat = client.subscribe<{ text: string }>('chat/*', { history: 10, presence: true }, ({ data }) => data.text.length);
  chat.on('join', (member, channel) => console.log(member.connectionId, channel));
  const position: Position | undefined = chat.position;
  for await (const message of client.subscribe<number>('numbers', position ? { since: position } : {})) {
    const typed: Message<number> = message;
    console.log(typed.data.toFixed(), message.gap?.dropped);
  }

  const published = await client.publish('chat/lobby', { text: 'hello' }, { key: 'order-17', timeout: 1000, signal });
  console.log(published?.offset, (await client.history<{ text: string }>('chat/lobby', { limit: 2 })).messages[0]?.data.text);

  const query: Query<Order> = client.query<Order>('orders', { tenant: 'acme' }, { credits: 8, signal });
  for await (const { total } of query) console.log(total.toFixed(2), query.summary?.totalRows);
  for await (const batch of client.query<[number, string]>('orders', {}, { format: 'arrays' }).batches()) console.log(batch[0]?.[1]);

  const orders: Watch<Order> = client.watch<Order>('orders', {}, { key: ['tenant', 'id'] });
  for await (const change of orders) {
    const typed: Change<Order> = change;
    if (typed.op === 'delete') console.log(typed.key, typed.old?.total);
    else if (typed.op !== 'reset') console.log(typed.row.total);
  }
  try {
    await client.ping({ signal });
  } catch (error) {
    if (error instanceof NeuroQuantumError && error.retryAfterMs) console.log(error.code);
  }
  off();
  client.close();

  // @ts-expect-error: what begins with _ is no part of the interface
  client._emit('state', 'open', {});
  // @ts-expect-error: there is no such event
  client.on('nonsense', () => {});
}
