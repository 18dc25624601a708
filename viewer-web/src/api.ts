// What the server says, and how it is asked.

export type Side = 'fixed' | 'moving'
export type Triple = [number, number, number]

/** A region: a box of voxels, (z, y, x), and its bits (zlib, base64, eight to a byte, lowest bit first). */
export interface PackedRegion { start: Triple; shape: Triple; bits: string }
export interface SidePair extends PackedRegion { size: number; n_voxels: number }
export interface PairRow {
  id: number
  name: string
  /** Number and name as the report writes them. */
  title: string
  keep: boolean
  given: boolean
  similarity: number
  confidence: number
  colour: string
  fixed: SidePair
  moving: SidePair
  structure: number
  background: boolean
}
export interface SideInfo {
  name: string
  there: boolean
  colour: boolean
  window: [number, number]
  shape: Triple
  spacing: Triple
  matrix: number[][]
  letters: [string, string][]
  plane: number
  flat: boolean
  unit: string
}
export interface Job {
  state: 'idle' | 'running' | 'done' | 'stopped' | 'failed'
  stage?: string
  done?: number
  total?: number
  seconds?: number
  error?: string
  outcome?: { pairs: number; verdict: string; warnings: string[] }
  new?: { nodes: Triple; jacobian: boolean }
}
export interface Scene {
  folder: string
  title: string
  fixed: SideInfo
  moving: SideInfo
  warped: boolean
  before: boolean
  jacobian: boolean
  nodes: Triple
  notes: string[]
  verdict: string
  registered: boolean
  epsilon: number
  complete: boolean
  serial: number
  undo: number
  redo: number
  job: Job
  suggested: string
}
export interface Edited { pairs: PairRow[]; gone: number[]; undo: number; redo: number }
export interface Answer {
  fixed: PackedRegion | null
  moving: PackedRegion | null
  /** For a counterpart: the region comes first. */
  looked: boolean
  found: boolean
  reason: string
  similarity: number
  cycle: number
  confidence: number
  /** Of the prompt; while it is not complete, more of it can be asked for. */
  number: number
  complete: boolean
}

async function checked(response: Response): Promise<Response> {
  if (response.ok) return response
  const text = await response.text()
  let message = text
  try { message = (JSON.parse(text) as { error: string }).error } catch { /* it is plain text */ }
  throw new Error(message)
}

async function reached(path: string, init?: RequestInit): Promise<Response> {
  try {
    return await fetch(path, init)
  } catch {
    throw new Error('samreg view has ended: start it again; every change was saved')
  }
}

export async function get<T>(path: string): Promise<T> {
  return (await checked(await reached(path))).json() as Promise<T>
}

export async function bytes(path: string): Promise<ArrayBuffer> {
  return (await checked(await reached(path))).arrayBuffer()
}

export async function post<T>(path: string, body: unknown): Promise<T> {
  const headers = { 'Content-Type': 'application/json' }
  return (await checked(await reached(path, { method: 'POST', headers, body: JSON.stringify(body) }))).json() as Promise<T>
}
