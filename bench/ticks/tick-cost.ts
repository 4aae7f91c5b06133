/** What one tick took: its own computing, without the table's, and operations of storage, messages among them. */
export type TickCost = { readonly cpuMs: number; readonly operations: number; readonly slots: number }
