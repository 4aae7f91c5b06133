import { create } from 'content-disposition'

/** The header `Content-Disposition` of a download that is to be kept under this name. Half a character is replaced. */
export function attachment(filename: string): string {
  return create(filename.toWellFormed())
}
