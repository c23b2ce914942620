/**
 * The filesystem contract on the local disk: it claims nothing that POSIX does not.
 */
import * as fs from 'node:fs/promises'
import t from 'tap'
import { makeScratch } from '../harness/scratch.ts'
import { filesystemContract } from './contract.ts'

const { directory, remove } = makeScratch('contract')
t.teardown(remove)
filesystemContract(t, fs, directory)
