export { Client } from './client.js';
export type { ClientEvents, History, Presence, Published, PublishOptions, QueryStatus } from './client.js';
export type { State, StateDetail, Welcome } from './connection.js';
export { NeuroQuantumError } from './errors.js';
export type { ClientOptions, Position, RequestOptions, Supplied, WebSocketLike } from './options.js';
export type { Query, QueryEvents, QueryOptions, Summary } from './query.js';
export type { Column, Progress, Started } from './stream.js';
export type { Gap, Member, Message, SubscribeOptions, Subscription, SubscriptionEvents } from './subscription.js';
export type { Change, Key, Watch, WatchEvents, WatchOptions } from './watch.js';
