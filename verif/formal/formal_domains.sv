// SPDX-License-Identifier: Apache-2.0
// Formal: projection and then alphas equals generation and then activations.
//
// Statement, for all alphas a and activations x of BITS bits and all lists of N codes
//     w[i] == sum_j a[j] * H[j][i]  and  z[j] == sum_i H[j][i] * x[i]        PRODUCTS = 0
//     sum_i x[i] * w[i]  ==  sum_j a[j] * z[j]                              PRODUCTS = 1
//   with w from unzip_wgen and z from unzip_projector: one filter and, along the kernel (CHANNEL = 0), the
//   9 taps of one channel and pixel; along the channels (CHANNEL = 1) the 16 channels of one pixel. Only
//   the products are taken here. Codes, alphas and activations are what stands on the inputs in cycle 0.
//
// Interface: ok_o is to be 1 in cycle Cycles, whatever the registers held in cycle 0 except cycle_q, which
// is 0: then all weights and all projections have come, and both sums are equal.
module formal_domains #(
    parameter int CHANNEL = 0,  // 1: codes along the channels
    parameter int N = 2,  // codes, 1 or 2
    parameter int BITS = 3,  // bits of alphas and activations, such that weights fit 8 bits
    parameter int PRODUCTS = 1,  // 0: compare weights and projections with their definitions
    localparam int Terms = CHANNEL != 0 ? 16 : 9
) (
    input  logic                  clk_i,
    input  logic [    N*BITS-1:0] alphas_i,
    input  logic [Terms*BITS-1:0] values_i,
    input  logic [       N*4-1:0] codes_i,
    output logic                  ok_o
);

  localparam int T_P = 8;
  localparam int DW = 8;
  localparam int J = 2;
  localparam int OperandW = DW + 4;
  localparam int SumW = 2 * BITS + 6;  // of the products' sums: at most 16*N*4^(BITS-1), N = 1 to 4
  localparam int SetLanes = (N + J - 1) / J * J;  // of a set of alphas along the channels
  localparam int Parts = CHANNEL != 0 ? 16 / N : 9;  // words of activations

  // ---- What is given ---------------------------------------------------------------------------------
  logic [7:0] cycle_q;
  logic rst_n;
  logic [N*BITS-1:0] alphas_q;
  logic [Terms*BITS-1:0] values_q;
  logic [N*4-1:0] codes_q;
  logic [N*DW-1:0] alphas;
  logic [Terms*DW-1:0] values;
  logic [95:0] list;

  assign rst_n = cycle_q >= 8'd2;
  always_ff @(posedge clk_i) begin
    cycle_q <= cycle_q + 8'd1;
    if (cycle_q == 8'd0) begin
      alphas_q <= alphas_i;
      values_q <= values_i;
      codes_q  <= codes_i;
    end
  end
  for (genvar j = 0; j < N; j++) begin : g_alpha
    assign alphas[j*DW+:DW] = DW'($signed(alphas_q[j*BITS+:BITS]));
  end
  for (genvar i = 0; i < Terms; i++) begin : g_value
    assign values[i*DW+:DW] = DW'($signed(values_q[i*BITS+:BITS]));
  end
  for (genvar j = 0; j < 16; j++) begin : g_list
    assign list[6*j+:6] = j < N ? {2'b00, codes_q[(j%N)*4+:4]} : 6'd0;
  end

  // ---- Weight domain: weights, then activations --------------------------------------------------------
  logic job_taken_q, job_ready, alpha_re, alpha_addr, word_valid;
  logic [T_P*DW-1:0] alpha_data_q, word_data;
  logic [5:0] word_step;
  logic [Terms*DW-1:0] weights_q;
  logic [4:0] words_q;

  always_ff @(posedge clk_i) begin
    job_taken_q  <= rst_n && (job_taken_q || (cycle_q >= 8'd3 && job_ready));
    alpha_data_q <= '0;
    if (alpha_re) begin
      for (int j = 0; j < N; j++) begin
        if (CHANNEL == 0 && (N == 1 || 1'(j) == alpha_addr))
          alpha_data_q[DW-1:0] <= alphas[j*DW+:DW];
        // The two blocks that make 16 channels have equal sets.
        if (CHANNEL != 0) begin
          alpha_data_q[j*DW+:DW] <= alphas[j*DW+:DW];
          alpha_data_q[(SetLanes+j)*DW+:DW] <= alphas[j*DW+:DW];
        end
      end
    end
  end

  unzip_wgen #(
      .T_P(T_P),
      .G(1),
      .J(J),
      .DW(DW),
      .N_MAX(N),
      .CHANNEL_AXIS(CHANNEL),
      .ALPHA_DEPTH(2)
  ) u_wgen (
      .clk_i,
      .rst_ni(rst_n),
      .code_we_i(cycle_q == 8'd2),
      .code_page_i(2'd0),
      .code_list_i(list),
      .job_valid_i(cycle_q >= 8'd3 && !job_taken_q),
      .job_ready_o(job_ready),
      .job_alpha_addr_i(16'd0),
      .job_filters_i(9'd1),
      .job_codes_i(7'(N)),
      .job_dense_i(1'b0),
      .job_channel_i(CHANNEL != 0),
      .job_alpha_words_i(17'd1),
      .job_kernel_h_i(CHANNEL != 0 ? 4'd1 : 4'd3),
      .job_kernel_w_i(CHANNEL != 0 ? 4'd1 : 4'd3),
      .job_blocks_i(CHANNEL != 0 ? 12'd2 : 12'd1),
      .job_chunk_blocks_i(CHANNEL != 0 ? 6'd2 : 6'd1),
      .job_chunk_taps_i(CHANNEL != 0 ? 6'd1 : 6'd9),
      .job_groups_i(3'd1),
      .done_o(),
      .busy_o(),
      .alpha_re_o(alpha_re),
      .alpha_addr_o(alpha_addr),
      .alpha_data_i(alpha_data_q),
      .word_valid_o(word_valid),
      .word_ready_i(1'b1),
      .word_data_o(word_data),
      .word_filter_o(),
      .word_step_o(word_step),
      .word_groups_o(),
      .word_last_o()
  );

  always_ff @(posedge clk_i) begin
    if (!rst_n) begin
      words_q <= '0;
    end else if (word_valid) begin
      words_q <= words_q + 1'b1;
      for (int i = 0; i < Terms; i++) begin
        if (CHANNEL == 0 && word_step == 6'(i)) weights_q[i*DW+:DW] <= word_data[DW-1:0];
        if (CHANNEL != 0 && word_step == 6'(i / T_P)) begin
          weights_q[i*DW+:DW] <= word_data[(i%T_P)*DW+:DW];
        end
      end
    end
  end

  // ---- Code domain: projections, then alphas -----------------------------------------------------------
  logic tile_taken_q, tile_ready, operand_valid;
  logic [7:0] part;  // of the words of activations
  logic part_valid;
  logic [T_P*DW-1:0] part_data;
  logic [T_P*OperandW-1:0] operand_data;
  logic [3:0] operand_step;
  logic [N*OperandW-1:0] projections_q;
  logic [3:0] operands_q;

  // Along the kernel three words of each column, top to bottom; along the channels channel by channel.
  localparam int FirstPart = 6;
  assign part = cycle_q - 8'(FirstPart);
  assign part_valid = cycle_q >= 8'(FirstPart) && cycle_q < 8'(FirstPart + Parts);
  always_comb begin
    part_data = '0;
    for (int i = 0; i < Terms; i++) begin
      if (CHANNEL == 0 && part == 8'(i % 3 * 3 + i / 3)) part_data[DW-1:0] = values[i*DW+:DW];
      if (CHANNEL != 0 && part == 8'(i / T_P)) part_data[(i%T_P)*DW+:DW] = values[i*DW+:DW];
    end
  end
  always_ff @(posedge clk_i) begin
    tile_taken_q <= rst_n && (tile_taken_q || (cycle_q >= 8'd3 && tile_ready));
  end

  unzip_projector #(
      .T_P(T_P),
      .T_R(2),
      .S(1),
      .D(9),
      .DW(DW),
      .OPERAND_W(OperandW)
  ) u_projector (
      .clk_i,
      .rst_ni(rst_n),
      .list_we_i(cycle_q == 8'd2),
      .list_i(list),
      .job_valid_i(CHANNEL == 0 && cycle_q >= 8'd3 && !tile_taken_q),
      .job_ready_o(tile_ready),
      .job_pixels_i(12'd1),
      .job_out_x_i(12'd0),
      .job_out_w_i(12'd1),
      .job_stride_two_i(1'b0),
      .job_groups_i(3'd1),
      .job_codes_i(4'(N)),
      .job_blocks_i(12'd1),
      .job_reduce_first_i(1'b1),
      .job_reduce_last_i(1'b1),
      .job_bank_i(1'b0),
      .issue_i(CHANNEL == 0 && cycle_q >= 8'(FirstPart - 1) && cycle_q < 8'(FirstPart + Parts - 1)),
      .room_o(),
      .busy_o(),
      .word_valid_i(part_valid),
      .word_data_i(part_data),
      .word_domain_i(CHANNEL != 0 ? 2'd2 : 2'd1),
      .word_log2_codes_i(2'($clog2(N))),
      .word_part_i(part[3:0]),
      .word_part_last_i(part == 8'(Parts - 1)),
      .word_single_i(1'b1),
      .word_step_i(4'd0),
      .word_row_i(1'b0),
      .word_bank_i(1'b0),
      .word_fresh_i(1'b1),
      .word_first_i(1'b1),
      .word_last_i(1'b1),
      .word_chunk_last_i(1'b1),
      .word_tile_last_i(1'b1),
      .operand_valid_o(operand_valid),
      .operand_data_o(operand_data),
      .operand_step_o(operand_step),
      .operand_row_o(),
      .operand_bank_o(),
      .operand_fresh_o(),
      .operand_first_o(),
      .operand_last_o(),
      .operand_chunk_last_o(),
      .operand_tile_last_o()
  );

  always_ff @(posedge clk_i) begin
    if (!rst_n) begin
      operands_q <= '0;
    end else if (operand_valid) begin
      operands_q <= operands_q + 1'b1;
      for (int j = 0; j < N; j++) begin
        if (CHANNEL == 0 && operand_step == 4'(j)) begin
          projections_q[j*OperandW+:OperandW] <= operand_data[OperandW-1:0];
        end
        if (CHANNEL != 0) begin
          projections_q[j*OperandW+:OperandW] <= operand_data[j*OperandW+:OperandW];
        end
      end
    end
  end

  // ---- What is to hold ---------------------------------------------------------------------------------
  // Signs of H[code][i]; along the kernel i is the tap's place on the grid of 4x4.
  logic [N*Terms-1:0] minus;
  for (genvar j = 0; j < N; j++) begin : g_minus
    for (genvar i = 0; i < Terms; i++) begin : g_term
      localparam int Place = CHANNEL != 0 ? i : 4 * (i / 3) + i % 3;
      assign minus[j*Terms+i] = ^(codes_q[4*j+:4] & 4'(Place));
    end
  end

  logic sums_equal, products_equal;
  logic [DW-1:0] weight;
  logic [OperandW-1:0] projection, column;
  logic [Terms*OperandW-1:0] pairs;
  logic signed [SumW-1:0] weight_sum, code_sum;
  always_comb begin
    sums_equal = 1'b1;
    weight_sum = '0;
    code_sum   = '0;
    for (int i = 0; i < Terms; i++) begin
      weight = '0;
      for (int j = 0; j < N; j++) begin
        weight = minus[j*Terms+i] ? weight - alphas[j*DW+:DW] : weight + alphas[j*DW+:DW];
      end
      if (weight != weights_q[i*DW+:DW]) sums_equal = 1'b0;
      weight_sum = weight_sum +
          SumW'($signed(weights_q[i*DW+:DW])) * SumW'($signed(values_q[i*BITS+:BITS]));
    end
    for (int j = 0; j < N; j++) begin
      // In the projector's order: sums in another one are hard to compare. Along the kernel column by
      // column, top to bottom; along the channels by pairs of sums, each with its first term's sign.
      if (CHANNEL == 0) begin
        projection = '0;
        for (int c = 0; c < 3; c++) begin
          column = '0;
          for (int y = 0; y < 3; y++) begin
            column = minus[j*Terms+3*y+c] ? column - OperandW'($signed(values[(3*y+c)*DW+:DW])) :
                column + OperandW'($signed(values[(3*y+c)*DW+:DW]));
          end
          projection = projection + column;
        end
      end else begin
        for (int i = 0; i < Terms; i++)
        pairs[i*OperandW+:OperandW] = OperandW'($signed(values[i*DW+:DW]));
        for (int k = 1; k < Terms; k = 2 * k) begin
          for (int i = 0; i + k < Terms; i = i + 2 * k) begin
            pairs[i*OperandW+:OperandW] = minus[j*Terms+i] != minus[j*Terms+i+k] ?
                pairs[i*OperandW+:OperandW] - pairs[(i+k)*OperandW+:OperandW] :
                pairs[i*OperandW+:OperandW] + pairs[(i+k)*OperandW+:OperandW];
          end
        end
        projection = minus[j*Terms] ? -pairs[OperandW-1:0] : pairs[OperandW-1:0];
      end
      if (projection != projections_q[j*OperandW+:OperandW]) sums_equal = 1'b0;
      code_sum = code_sum + SumW'($signed(projections_q[j*OperandW+:OperandW])) *
          SumW'($signed(alphas_q[j*BITS+:BITS]));
    end
    products_equal = weight_sum == code_sum;
  end

  assign ok_o = words_q == (CHANNEL != 0 ? 5'd2 : 5'd9) && operands_q == (CHANNEL != 0 ? 4'd1 : 4'(N)) &&
      (PRODUCTS != 0 ? products_equal : sums_equal);

endmodule
