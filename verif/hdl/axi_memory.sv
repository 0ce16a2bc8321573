// SPDX-License-Identifier: Apache-2.0
// Memory behind an AXI4 port, for simulation: bandwidth, latency and random stalls are settable.
//
// Interface: rate_i is the bandwidth that reads and writes share, in 1/256 bytes a cycle, 0 for no limit.
// latency_i counts the cycles from an accepted read address to its first beat, at least 2. stall_i is
// the chance, in 1/256, that a channel stalls in a cycle. Reads answer in order. Beyond MEM_BYTES everything
// answers DECERR. A rising edge of load_i reads the file memory_image.hex of the working directory into
// the memory ($readmemh, words of the bus width), a rising edge of dump_i writes the words dump_first_i to
// dump_last_i to memory_dump.hex.
// bytes_*_o count what was moved.

module axi_memory #(
    parameter int AXI_DATA_W = 64,
    parameter int AXI_ADDR_W = 40,
    parameter int MEM_BYTES  = 1 << 20
) (
    input logic clk_i,
    input logic rst_ni,

    input logic [15:0] rate_i,
    input logic [15:0] latency_i,
    input logic [ 7:0] stall_i,
    input logic [31:0] seed_i,

    input logic        load_i,
    input logic        dump_i,
    input logic [31:0] dump_first_i,
    input logic [31:0] dump_last_i,

    output logic [63:0] bytes_read_o,
    output logic [63:0] bytes_written_o,

    input  logic                    arvalid_i,
    output logic                    arready_o,
    input  logic                    arid_i,
    input  logic [  AXI_ADDR_W-1:0] araddr_i,
    input  logic [             7:0] arlen_i,
    output logic                    rvalid_o,
    input  logic                    rready_i,
    output logic                    rid_o,
    output logic [  AXI_DATA_W-1:0] rdata_o,
    output logic [             1:0] rresp_o,
    output logic                    rlast_o,
    input  logic                    awvalid_i,
    output logic                    awready_o,
    input  logic                    awid_i,
    input  logic [  AXI_ADDR_W-1:0] awaddr_i,
    input  logic                    wvalid_i,
    output logic                    wready_o,
    input  logic [  AXI_DATA_W-1:0] wdata_i,
    input  logic [AXI_DATA_W/8-1:0] wstrb_i,
    input  logic                    wlast_i,
    output logic                    bvalid_o,
    input  logic                    bready_i,
    output logic                    bid_o,
    output logic [             1:0] bresp_o
);

  localparam int Bytes = AXI_DATA_W / 8;
  localparam int ByteW = $clog2(Bytes);
  localparam int Words = MEM_BYTES / Bytes;
  localparam int WordAw = $clog2(Words);
  localparam int Cost = Bytes * 256;
  localparam int Queue = 64;  // accepted read bursts

  logic [AXI_DATA_W-1:0] mem[Words];

  // ---- Backdoor ------------------------------------------------------------------------------------
  logic load_q, dump_q, reset_q;  // reset_q: there was a reset; before it the pins hold anything
  initial begin
    load_q  = 1'b0;
    dump_q  = 1'b0;
    reset_q = 1'b0;
  end
  always @(posedge clk_i) begin
    load_q <= load_i;
    dump_q <= dump_i;
    if (!rst_ni) reset_q <= 1'b1;
    if (reset_q && load_i && !load_q) $readmemh("memory_image.hex", mem);
    if (reset_q && dump_i && !dump_q) $writememh("memory_dump.hex", mem, dump_first_i, dump_last_i);
  end

  // ---- Stalls: one pseudo-random byte a channel (xorshift) ---------------------------------------------
  logic [31:0] random_q, random_1, random_2, random_3;
  logic [3:0] stalled;
  assign random_1 = random_q ^ (random_q << 13);
  assign random_2 = random_1 ^ (random_1 >> 17);
  assign random_3 = random_2 ^ (random_2 << 5);
  for (genvar s = 0; s < 4; s++) begin : g_stall
    assign stalled[s] = random_q[s*8+:8] < stall_i;
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      random_q <= seed_i | 32'd1;
    end else if (stall_i != '0) begin
      random_q <= random_3;
    end
  end

  // ---- Bandwidth: one budget for reads and writes -----------------------------------------------------
  logic [31:0] budget_q;
  logic read_beat, write_beat, affordable;
  assign affordable = rate_i == '0 || budget_q >= Cost;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      budget_q <= '0;
    end else if (rate_i != '0) begin
      // An idle bus saves up no more than two beats.
      budget_q <= (budget_q > 2 * Cost ? 2 * Cost : budget_q + 32'(rate_i))
                - (read_beat ? Cost : 0) - (write_beat ? Cost : 0);
    end
  end

  // ---- Reads ---------------------------------------------------------------------------------------
  logic [31:0] now_q;
  logic [AXI_ADDR_W-1:0] ar_addr[Queue];
  logic [7:0] ar_len[Queue];
  logic ar_id[Queue];
  logic [31:0] ar_due[Queue];
  logic [6:0] ar_write_q, ar_read_q;
  logic [8:0] beat_q;
  logic [AXI_ADDR_W-1:0] read_addr;
  logic read_inside, read_last, have;
  logic rvalid_q;

  assign arready_o = (ar_write_q - ar_read_q) != 7'(Queue) && !stalled[0];
  assign have = ar_write_q != ar_read_q && now_q - ar_due[ar_read_q[5:0]] < 32'h80000000;
  assign read_addr = ar_addr[ar_read_q[5:0]] + (AXI_ADDR_W'(beat_q) << ByteW);
  assign read_inside = read_addr < AXI_ADDR_W'(MEM_BYTES);
  assign read_last = beat_q == 9'(ar_len[ar_read_q[5:0]]);
  assign read_beat = have && affordable && !stalled[1] && (!rvalid_q || rready_i);

  always_ff @(posedge clk_i) begin
    now_q <= now_q + 1'b1;
    if (!rst_ni) begin
      now_q <= '0;
      ar_write_q <= '0;
      ar_read_q <= '0;
      beat_q <= '0;
      rvalid_q <= 1'b0;
      bytes_read_o <= '0;
    end else begin
      if (arvalid_i && arready_o) begin
        ar_addr[ar_write_q[5:0]] <= araddr_i;
        ar_len[ar_write_q[5:0]] <= arlen_i;
        ar_id[ar_write_q[5:0]] <= arid_i;
        ar_due[ar_write_q[5:0]] <= now_q + 32'(latency_i) - 32'd1;
        ar_write_q <= ar_write_q + 1'b1;
      end
      if (read_beat) begin
        rvalid_q <= 1'b1;
        rid_o <= ar_id[ar_read_q[5:0]];
        rdata_o <= read_inside ? mem[read_addr[ByteW+:WordAw]] : '0;
        rresp_o <= read_inside ? 2'b00 : 2'b11;
        rlast_o <= read_last;
        beat_q <= read_last ? '0 : beat_q + 1'b1;
        if (read_last) ar_read_q <= ar_read_q + 1'b1;
        bytes_read_o <= bytes_read_o + 64'(Bytes);
      end else if (rready_i) begin
        rvalid_q <= 1'b0;
      end
    end
  end
  assign rvalid_o = rvalid_q;

  // ---- Writes: one burst at a time -------------------------------------------------------------------
  logic aw_q, b_q, bad_q, write_inside;
  logic [AXI_ADDR_W-1:0] write_addr_q;

  assign awready_o = !aw_q && !stalled[2];
  assign wready_o = aw_q && !b_q && affordable && !read_beat && !stalled[3];
  assign write_beat = wvalid_i && wready_o;
  assign write_inside = write_addr_q < AXI_ADDR_W'(MEM_BYTES);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      aw_q <= 1'b0;
      b_q <= 1'b0;
      bytes_written_o <= '0;
    end else begin
      if (awvalid_i && awready_o) begin
        aw_q <= 1'b1;
        bad_q <= 1'b0;
        bid_o <= awid_i;
        write_addr_q <= awaddr_i;
      end
      if (write_beat) begin
        for (int b = 0; b < Bytes; b++) begin
          if (wstrb_i[b] && write_inside) begin
            mem[write_addr_q[ByteW+:WordAw]][b*8+:8] <= wdata_i[b*8+:8];
          end
        end
        bad_q <= bad_q || !write_inside;
        write_addr_q <= write_addr_q + AXI_ADDR_W'(Bytes);
        bytes_written_o <= bytes_written_o + 64'(Bytes);
        if (wlast_i) b_q <= 1'b1;
      end
      if (b_q && bready_i) begin
        b_q  <= 1'b0;
        aw_q <= 1'b0;
      end
    end
  end
  assign bvalid_o = b_q;
  assign bresp_o  = bad_q ? 2'b11 : 2'b00;

endmodule
