// Small matrices: rows of numbers.

import type { Triple } from './api'

/** The inverse of a linear map (three rows of three) or of an affine one (four rows of four, the last 0 0 0 1). */
export function inverted(m: number[][]): number[][] {
  const [x, y, z] = m, cross = (a: number[], b: number[]): number[] => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
  const columns = [cross(y, z), cross(z, x), cross(x, y)]
  const det = x[0] * columns[0][0] + x[1] * columns[0][1] + x[2] * columns[0][2] || 1
  const rows = [0, 1, 2].map((i) => columns.map((column) => column[i] / det))
  if (m.length < 4) return rows
  return [...rows.map((row) => [...row, -(row[0] * x[3] + row[1] * y[3] + row[2] * z[3])]), [0, 0, 0, 1]]
}

/** The product of two affine maps. */
export function product(a: number[][], b: number[][]): number[][] {
  return a.map((row) => [0, 1, 2, 3].map((j) => row.reduce((sum, v, i) => sum + v * b[i][j], 0)))
}

/** Where a linear or an affine map takes a point. */
export function applied(matrix: number[][], at: Triple): Triple {
  return [0, 1, 2].map((i) => matrix[i][0] * at[0] + matrix[i][1] * at[1] + matrix[i][2] * at[2] + (matrix[i][3] ?? 0)) as Triple
}
