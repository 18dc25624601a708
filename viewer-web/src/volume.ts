// A volume as the server writes it (samreg/viewer/volumes.py): NIfTI-1, 16 bits or RGB, (x fastest, then y, z).

export class Volume {
  readonly shape: [number, number, number] // x, y, z
  readonly rgb: boolean
  readonly grey: Int16Array
  readonly colour: Uint8Array
  readonly slope: number
  readonly intercept: number

  constructor(readonly buffer: ArrayBuffer) {
    const view = new DataView(buffer)
    this.shape = [view.getInt16(42, true), view.getInt16(44, true), view.getInt16(46, true)]
    this.rgb = view.getInt16(70, true) === 128
    this.slope = view.getFloat32(112, true)
    this.intercept = view.getFloat32(116, true)
    const n = this.shape[0] * this.shape[1] * this.shape[2]
    this.grey = this.rgb ? new Int16Array(0) : new Int16Array(buffer, 352, n)
    this.colour = this.rgb ? new Uint8Array(buffer, 352, 3 * n) : new Uint8Array(0)
  }

  /** Grey value at whole indices; NaN outside and for colour. */
  value(x: number, y: number, z: number): number {
    const [nx, ny, nz] = this.shape
    if (this.rgb || x < 0 || y < 0 || z < 0 || x >= nx || y >= ny || z >= nz) return NaN
    return this.grey[x + nx * (y + ny * z)] * this.slope + this.intercept
  }
}

/** How a plane lies on the screen: index axes to the right and down, and whether down runs against the axis. */
export interface PlaneAxes { right: number; down: number; through: number; flip: boolean; name: string }
export const PLANES: PlaneAxes[] = [
  { right: 1, down: 2, through: 0, flip: true, name: 'sagittal' },
  { right: 0, down: 2, through: 1, flip: true, name: 'coronal' },
  { right: 0, down: 1, through: 2, flip: false, name: 'axial' },
]

const tables = new WeakMap<Volume, { key: string; table: Uint8Array }>()

/** 65,536 bytes: stored value + 32768 -> brightness. */
export function brightness(volume: Volume, low: number, high: number): Uint8Array {
  const key = `${low} ${high}`, known = tables.get(volume)
  if (known?.key === key) return known.table
  const table = new Uint8Array(65536)
  const gain = 255 / Math.max(1e-9, high - low)
  for (let i = 0; i < 65536; i++) {
    const value = ((i - 32768) * volume.slope + volume.intercept - low) * gain
    table[i] = value < 0 ? 0 : value > 255 ? 255 : value
  }
  tables.set(volume, { key, table })
  return table
}

/** One slice as opaque pixels (ABGR words), the way it lies on the screen. */
export function slicePixels(volume: Volume, plane: PlaneAxes, k: number, table: Uint8Array, out: Uint32Array): void {
  const stride = [1, volume.shape[0], volume.shape[0] * volume.shape[1]]
  const width = volume.shape[plane.right], height = volume.shape[plane.down]
  for (let v = 0; v < height; v++) {
    let at = k * stride[plane.through] + (plane.flip ? height - 1 - v : v) * stride[plane.down]
    const row = v * width
    for (let u = 0; u < width; u++, at += stride[plane.right]) {
      if (volume.rgb) {
        const c = volume.colour
        out[row + u] = 0xff000000 | (c[3 * at + 2] << 16) | (c[3 * at + 1] << 8) | c[3 * at]
      } else {
        const g = table[volume.grey[at] + 32768]
        out[row + u] = 0xff000000 | (g << 16) | (g << 8) | g
      }
    }
  }
}
